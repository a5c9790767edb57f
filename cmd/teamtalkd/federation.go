package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"teamtalk/internal/admin"
	"teamtalk/internal/texttable"
)

type federationCmd struct {
	Init        federationInitCmd        `cmd:"" help:"Make this cluster one that other offices can know, or change what it is called and where it is reached."`
	Invite      federationInviteCmd      `cmd:"" help:"Print a code with which one other office can introduce itself."`
	Accept      federationAcceptCmd      `cmd:"" help:"Introduce this office to the one that made a code."`
	Confirm     federationConfirmCmd     `cmd:"" help:"Open the link with an office whose fingerprint was compared."`
	List        federationListCmd        `cmd:"" help:"List the offices that this one knows."`
	Show        federationShowCmd        `cmd:"" help:"Show one office, or this one, with all that is known of it."`
	Policy      federationPolicyCmd      `cmd:"" help:"Change what may pass over a link, and how it is made."`
	Pause       federationPauseCmd       `cmd:"" help:"Stop a link; what goes to that office waits."`
	Resume      federationResumeCmd      `cmd:"" help:"Let a paused link go on; or all of them, after this cluster was restored from a backup."`
	Remove      federationRemoveCmd      `cmd:"" help:"End a link for ever."`
	Rotate      federationRotateCmd      `cmd:"" help:"Sign with the next link key from now on."`
	Find        federationFindCmd        `cmd:"" help:"Find people of offices that share their directory; they can be written to, and put into groups, from then on."`
	Status      federationStatusCmd      `cmd:"" help:"Show how the links are: what waits, for how long, what was refused."`
	Trace       federationTraceCmd       `cmd:"" help:"Show where a message is on its way to other offices."`
	Deadletters federationDeadlettersCmd `cmd:"" help:"List what was not accepted, here or there, and why."`
}

type federationInitCmd struct {
	target
	Domain   string   `placeholder:"DOMAIN" help:"What the addresses of this office's people end in: lin@hangzhou.example."`
	Office   string   `placeholder:"NAME" help:"The office's name, as others see it beside its people."`
	Endpoint []string `placeholder:"HOST:PORT" help:"Where other offices reach this one, in place of the configuration's; may be given several times."`
}

// Run makes the identity, or changes it.
func (c *federationInitCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		self, err := api.InitFederation(ctx, admin.FederationNaming{Domain: c.Domain, Office: c.Office, Endpoints: c.Endpoint})
		if err != nil {
			return err
		}
		if err := c.answer(term, self, selfTable(self)); err != nil || c.JSON {
			return err
		}
		term.say("%s", afterInit(self))
		return nil
	})
}

func afterInit(self admin.FederationSelf) string {
	if self.Serial > 1 {
		return "Offices that are linked are told by themselves.\n"
	}
	text := "Other offices can know this one now. For each of them: teamtalkd federation invite\n"
	if len(self.Endpoints) == 0 {
		text += "Nobody can connect with it yet, it can only accept invitations of others: set public.host and listen.tls, or federation.endpoints, or --endpoint HOST:PORT\n"
	}
	return text + "Backups hold its root key from now on, so they have to be encrypted: teamtalkd backup --passphrase-file FILE\n"
}

func selfTable(s admin.FederationSelf) texttable.Table {
	t := texttable.Table{{"THIS OFFICE", s.Office}, {"domain", s.Domain}, {"fingerprint", s.Fingerprint}, {"cluster", s.Cluster},
		{"endpoints", orDash(strings.Join(s.Endpoints, ", "))}, {"serial", fmt.Sprint(s.Serial)}, {"epoch", fmt.Sprint(s.Epoch)}}
	for _, k := range s.Keys {
		t = append(t, []string{"key " + k.Purpose, fmt.Sprintf("%s since %s", k.ID, k.Since.Local().Format(time.DateTime))})
	}
	if s.Restored {
		t = append(t, []string{"RESTORED", "all links are down until `teamtalkd federation resume --restored`"})
	}
	return t
}

type federationInviteCmd struct {
	target
	For time.Duration `default:"48h" placeholder:"TIME" help:"How long the code is good for. [${default}]"`
}

// Run prints the code, and nothing else, on the standard output.
func (c *federationInviteCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		i, err := api.Invite(ctx, c.For)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(term.out, i)
		}
		term.say("For one other office, until %s; a secret until it is used. It says that %s is reached at %s.\n"+
			"There: teamtalkd federation accept CODE\n"+
			"Then tell each other the fingerprints of both offices, by another way than the code goes (by telephone). That of %s is\n  %s\n"+
			"That of the other office is in `teamtalkd federation list` as soon as it has accepted; if it is the one you are told:\n"+
			"  teamtalkd federation confirm DOMAIN --fingerprint FINGERPRINT --allow all\n",
			i.Expires.Local().Format(time.RFC1123), i.Domain, strings.Join(i.Endpoints, ", "), i.Domain, i.Fingerprint)
		_, err = fmt.Fprintln(term.out, i.Code)
		return err
	})
}

type federationAcceptCmd struct {
	target
	Proxy string `placeholder:"HOST:PORT" help:"HTTP proxy by which that office is reached."`
	Code  string `arg:"" help:"What \"federation invite\" printed at the other office; - reads it from the standard input."`
}

// Run introduces this office.
func (c *federationAcceptCmd) Run(term *terminal) error {
	code, err := orLine(term, c.Code)
	if err != nil {
		return err
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		met, err := api.AcceptInvitation(ctx, admin.InvitationUse{Code: code, Proxy: c.Proxy})
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(term.out, met)
		}
		_, err = fmt.Fprintf(term.out, "%s (%s) and this office know each other now. Nothing passes yet.\n\n"+
			"  fingerprint of %s: %s\n  fingerprint of %s: %s\n\n"+
			"Both sides now compare both fingerprints, by another way than the code came (by telephone). Only if they are the same:\n"+
			"  here:  teamtalkd federation confirm %s --fingerprint %s --allow all\n"+
			"  there: teamtalkd federation confirm %s --fingerprint %s --allow all\n"+
			"--allow says what may pass: all, or some of direct,groups,files,presence,directory.\n",
			texttable.Printable(met.Peer.Office), met.Peer.Domain, met.Peer.Domain, met.Peer.Fingerprint, met.Self.Domain, met.Self.Fingerprint,
			met.Peer.Domain, met.Peer.Fingerprint, met.Self.Domain, met.Self.Fingerprint)
		return err
	})
}

type federationConfirmCmd struct {
	target
	Fingerprint string   `required:"" placeholder:"FINGERPRINT" help:"The fingerprint that the other office's people have told you, six groups of four characters."`
	Allow       []string `placeholder:"WHAT" help:"What may pass in both directions: all, none, or some of direct,groups,files,presence,directory."`
	In          []string `placeholder:"WHAT" help:"What that office may send, in place of --allow."`
	Out         []string `placeholder:"WHAT" help:"What it is sent, in place of --allow."`
	Office      string   `arg:"" help:"Its domain, or its id."`
}

// Run opens the link.
func (c *federationConfirmCmd) Run(term *terminal) error {
	in, out := c.In, c.Out
	if len(in) == 0 {
		in = c.Allow
	}
	if len(out) == 0 {
		out = c.Allow
	}
	if len(in) == 0 || len(out) == 0 {
		return fmt.Errorf("say what may pass between the two offices: --allow all, or --allow with some of direct,groups,files,presence,directory; --in and --out tell the directions apart")
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.ConfirmPeer(ctx, admin.Confirmation{Peer: c.Office, Fingerprint: c.Fingerprint, In: in, Out: out}); err != nil {
			return err
		}
		return c.said(term, fmt.Sprintf("%s is confirmed at this side; the link opens when the other side has confirmed, too: teamtalkd federation status", c.Office))
	})
}

type federationPolicyCmd struct {
	target
	Allow    []string `placeholder:"WHAT" help:"What may pass in both directions: all, none, or some of direct,groups,files,presence,directory."`
	In       []string `placeholder:"WHAT" help:"What that office may send, in place of --allow."`
	Out      []string `placeholder:"WHAT" help:"What it is sent, in place of --allow."`
	Quota    *uint64  `placeholder:"BYTES" help:"How many bytes may wait for it before messages to its people are refused."`
	Proxy    *string  `placeholder:"HOST:PORT" help:"HTTP proxy by which it is reached; none: directly."`
	DialOnly *bool    `negatable:"" help:"Only this side connects; that office can't reach it."`
	Office   string   `arg:"" help:"Its domain, or its id."`
}

// Run changes the rules.
func (c *federationPolicyCmd) Run(term *terminal) error {
	p := admin.PolicyChange{Peer: c.Office, Quota: c.Quota, Proxy: c.Proxy, DialOnly: c.DialOnly}
	if c.Proxy != nil && *c.Proxy == "none" {
		p.Proxy = new(string)
	}
	for _, d := range []struct {
		given []string
		to    **[]string
	}{{c.In, &p.In}, {c.Out, &p.Out}} {
		if len(d.given) == 0 {
			d.given = c.Allow
		}
		if len(d.given) > 0 {
			*d.to = &d.given
		}
	}
	if p.In == nil && p.Out == nil && p.Quota == nil && p.Proxy == nil && p.DialOnly == nil {
		return fmt.Errorf("nothing to change: use --allow, --in, --out, --quota, --proxy or --dial-only")
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.SetPolicy(ctx, p); err != nil {
			return err
		}
		return c.said(term, fmt.Sprintf("the rules for %s are changed: teamtalkd federation show %s", c.Office, c.Office))
	})
}

type federationPauseCmd struct {
	target
	Office string `arg:"" help:"Its domain, or its id."`
}

// Run stops the link.
func (c *federationPauseCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.PausePeer(ctx, c.Office); err != nil {
			return err
		}
		return c.said(term, fmt.Sprintf("the link with %s is paused; what goes there waits. To go on: teamtalkd federation resume %s", c.Office, c.Office))
	})
}

type federationResumeCmd struct {
	target
	Restored bool   `help:"This cluster was restored from a backup, or recovered, and what it was before is gone for good: two of them would speak with one voice."`
	Office   string `arg:"" optional:"" help:"Domain or id of the office whose link was paused."`
}

// Run lets links go on.
func (c *federationResumeCmd) Run(term *terminal) error {
	switch {
	case c.Restored == (c.Office != ""):
		return fmt.Errorf("say which office's link is to go on, or --restored if this cluster was restored from a backup and the one before is gone")
	case c.Restored:
		return c.call(func(ctx context.Context, api *admin.Client) error {
			if err := api.ResumeRestored(ctx); err != nil {
				return err
			}
			return c.said(term, "the links go on; other offices send what this one had before the backup is from: teamtalkd federation status")
		})
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.ResumePeer(ctx, c.Office); err != nil {
			return err
		}
		return c.said(term, fmt.Sprintf("the link with %s goes on: teamtalkd federation status", c.Office))
	})
}

type federationRemoveCmd struct {
	target
	Yes    bool   `help:"Do it, having read what that means."`
	Office string `arg:"" help:"Its domain, or its id."`
}

// Run ends the link.
func (c *federationRemoveCmd) Run(term *terminal) error {
	if !c.Yes {
		term.say("Removing %s ends the link for ever: what waits for it is dropped, its people are marked as left here, those of both offices leave each other's groups.\n"+
			"To stop it for a while only: teamtalkd federation pause %s\n", c.Office, c.Office)
		return fmt.Errorf("nothing was done: add --yes to do it")
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.RemovePeer(ctx, c.Office); err != nil {
			return err
		}
		return c.said(term, fmt.Sprintf("%s is removed", c.Office))
	})
}

type federationRotateCmd struct {
	target
	Now bool `help:"Leave the former key out at once, for somebody else may have it: what it has signed and was not accepted yet will be refused."`
}

// Run changes the key.
func (c *federationRotateCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		self, err := api.RotateKey(ctx, c.Now)
		if err != nil {
			return err
		}
		return c.answer(term, self, selfTable(self))
	})
}
