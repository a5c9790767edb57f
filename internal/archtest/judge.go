package archtest

import "fmt"

// Exception lets one problem pass.
type Exception struct {
	Check, Where string
	// Max is the size that is still let pass, where the problem has one.
	Max int
	// Why has to be given.
	Why string
}

// Judge returns what is wrong after the exceptions: the problems that none covers, and the exceptions that cover none.
func Judge(problems []Problem, exceptions []Exception) []string {
	used := make([]bool, len(exceptions))
	var wrong []string
	for _, p := range problems {
		passed := false
		for i, e := range exceptions {
			if e.Check == p.Check && e.Where == p.Where && e.Why != "" {
				used[i] = true
				passed = passed || p.Size <= e.Max
			}
		}
		if !passed {
			wrong = append(wrong, p.Text)
		}
	}
	for i, e := range exceptions {
		switch {
		case e.Why == "":
			wrong = append(wrong, fmt.Sprintf("exception (%s, %s) gives no reason", e.Check, e.Where))
		case !used[i]:
			wrong = append(wrong, fmt.Sprintf("exception (%s, %s) is not needed any more: remove it", e.Check, e.Where))
		}
	}
	return wrong
}
