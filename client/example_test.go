package client_test

import (
	"context"
	"fmt"
	"log"

	"teamtalk/client"
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
