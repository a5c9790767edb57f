package client_test

import (
	"context"
	"fmt"
	"log"

	"teamtalk/client"
	"teamtalk/protocol"
)

// A client logs in, sends a message, and reads what comes.
func Example() {
	server := newFakeServer()   // stands for the server at Addresses
	ctx := context.Background() // programs that may be stopped have a better one
	c, err := client.Open(ctx, client.Config{Name: "me", Password: "1", Dialer: newFakeNet(server)})
	if err != nil {
		log.Fatal(err)
	}
	out, err := c.Send(ctx, inAlice(), client.Text("hello"))
	if err != nil {
		log.Fatal(err)
	}
	if err := out.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("message", out.State().ID, out.State().Phase)
	for got := false; !got; {
		switch ev := (<-c.Events()).(type) {
		case *client.StateChanged:
			fmt.Println(ev.State)
		case *client.Message:
			fmt.Println("event:", ev.Text)
			got = true
		}
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// message 1 sent
	// connecting
	// online
	// event: hello
}

// Recall takes a message back; everybody in the conversation is told, this client too.
func ExampleClient_Recall() {
	server := newFakeServer()
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{Name: "me", Password: "1", Dialer: newFakeNet(server)})
	if err != nil {
		log.Fatal(err)
	}
	out, err := c.Send(ctx, inAlice(), client.Text("the password is 1234"))
	if err != nil {
		log.Fatal(err)
	}
	if err := out.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	if err := c.Recall(ctx, inAlice(), out.State().ID); err != nil {
		log.Fatal(err) // too late, for example
	}
	for gone := false; !gone; {
		switch ev := (<-c.Events()).(type) {
		case *client.Message:
			fmt.Println("message", ev.ID, "says:", ev.Text)
		case *client.MessageDeleted:
			fmt.Println("message", ev.ID, "was recalled:", ev.Kind == protocol.Recalled)
			gone = true
		}
	}
	page, err := c.History(ctx, inAlice(), 0, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("message %d says %q now\n", page.Items[0].ID, page.Items[0].Text)
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// message 1 says: the password is 1234
	// message 1 was recalled: true
	// message 1 says "" now
}

// A session that is kept in a file goes on where the program ended.
func ExampleNewFileStorage() {
	storage, err := client.NewFileStorage("/var/lib/bot/session.json")
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.Open(context.Background(), client.Config{Addresses: []string{"chat.example.com"}, Storage: storage})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(c.Outbox()), "messages still to be sent")
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
}

// A message that was refused can be tried again.
func ExampleOutgoing() {
	var c *client.Client
	out, err := c.Send(context.Background(), inAlice(), client.Text("hello"))
	if err != nil {
		log.Fatal(err) // not accepted
	}
	<-out.Done()
	if d := out.State(); d.Phase == client.PhaseFailed {
		log.Print(d.Err)
		if err := out.Retry(); err != nil {
			log.Fatal(err)
		}
	}
}

// History pages from the newest message down.
func ExampleClient_History() {
	server := newFakeServer()
	server.says("hi")
	server.says("are you there?")
	c, err := client.Open(context.Background(), client.Config{Name: "me", Password: "1", Dialer: newFakeNet(server)})
	if err != nil {
		log.Fatal(err)
	}
	page, err := c.History(context.Background(), inAlice(), 0, 20)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range page.Items {
		fmt.Println(m.ID, m.Text)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 2 are you there?
	// 1 hi
}
