package node

import (
	"context"
	"fmt"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/service"
)

// DemoPeople is how many people the demo company has.
const DemoPeople = 20

// person is one of the demo company. Spelling is that of the nick, by which clients sort and search.
type person struct {
	nick, spelling, sign string
	gender               uint8 // 1 male, 2 female
	department           int   // of demoDepartments
}

// company is who works there; user1 is the first.
func company() []person {
	return []person{
		{"林晓雨", "linxiaoyu", "今天也要早点下班", 2, 0}, {"Anna Weber", "annaweber", "Berlin until Thursday", 2, 1}, {"陈立", "chenli", "", 1, 1},
		{"Marco Rossi", "marcorossi", "ciao", 1, 2}, {"王芳", "wangfang", "有事请留言", 2, 2}, {"David Kim", "davidkim", "", 1, 0},
		{"张伟", "zhangwei", "代码写完了吗", 1, 1}, {"Sofia Almeida", "sofiaalmeida", "on the road", 2, 2}, {"刘洋", "liuyang", "", 1, 0},
		{"Emma Larsson", "emmalarsson", "", 2, 1}, {"赵敏", "zhaomin", "杭州", 2, 2}, {"Tom Fischer", "tomfischer", "coffee first", 1, 1},
		{"孙丽", "sunli", "", 2, 0}, {"Lucas Martin", "lucasmartin", "", 1, 2}, {"周杰", "zhoujie", "周五值班", 1, 1},
		{"Maya Patel", "mayapatel", "", 2, 0}, {"吴磊", "wulei", "", 1, 2}, {"Olga Petrova", "olgapetrova", "", 2, 1},
		{"徐静", "xujing", "新来的，请多关照", 2, 2}, {"Noah Brown", "noahbrown", "", 1, 0},
	}
}

// companyUsers are the people with the login names of demo users.
func companyUsers(depts []protocol.DeptID) []protocol.User {
	var users []protocol.User
	for i, p := range company() {
		name := demoName(i + 1)
		users = append(users, protocol.User{Name: name, Nick: p.nick, Gender: p.gender, Department: depts[p.department], Email: name + "@example.com",
			Domain: p.spelling, Sign: p.sign})
	}
	return users
}

// demoTalker sends messages.
type demoTalker interface {
	Send(ctx context.Context, cmd protocol.SendMessage) (protocol.SendResult, error)
}

var _ demoTalker = (*service.Messages)(nil)

// greet lets some of the people say something to user1, so that there is something to see.
func greet(ctx context.Context, talker demoTalker, have map[string]protocol.UserID, everybody protocol.GroupID) error {
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		return err
	}
	all := protocol.InGroup(everybody)
	first := protocol.WithUser(have[demoName(1)])
	for _, m := range []struct {
		from int
		to   protocol.Session
		text string
	}{
		{3, all, "大家好！新的 TeamTalk 上线了，旧的客户端也可以继续用 [微笑]"},
		{4, all, "Buongiorno! Works from the train, too: I lost the network twice and no message."},
		{2, first, "Hi! Open a second window, log in as user2, and answer me there."},
		{2, first, "Paste a picture, drop a file, or record a few words: old clients get them too."},
	} {
		cmd := protocol.SendMessage{From: have[demoName(m.from)], To: m.to, Type: protocol.MsgSingleText, Data: cipher.Encrypt(m.text)}
		if m.to.Type == protocol.SessionGroup {
			cmd.Type = protocol.MsgGroupText
		}
		if _, err := talker.Send(ctx, cmd); err != nil {
			return fmt.Errorf("demo messages: %w", err)
		}
	}
	return nil
}
