package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"teamtalk/internal/admin"
	"teamtalk/internal/sealed"
)

// offlineTools work on the data directory of a node that does not run.
type offlineTools struct {
	// restore makes a data directory of a new cluster, of one node, out of a backup; it refuses one that has data.
	restore func(ctx context.Context, dir string, backup io.Reader) (restored, error)
	// inspect tells what recover would start from, and changes nothing.
	inspect func(ctx context.Context, dir string) (remains, error)
	// recover makes the node a cluster of its own, with a new history.
	recover func(ctx context.Context, dir string) (remains, error)
}

// restored says what a backup held.
type restored struct {
	Cluster string    `json:"cluster,omitempty"`
	Node    string    `json:"node"` // who made it
	Index   uint64    `json:"index"`
	Time    time.Time `json:"time"`
	Bytes   int64     `json:"bytes"`
}

// remains is what a node has of its cluster.
type remains struct {
	Node    string   `json:"node"`
	Members []string `json:"members"` // as far as this node knew
	Applied uint64   `json:"applied"`
	Log     uint64   `json:"log"` // the last entry, committed or not
}

type backupCmd struct {
	target
	passphraseFlag
	File string `arg:"" help:"File to write; it must not exist."`
}

// Run writes the backup: as a whole, or not at all.
func (c *backupCmd) Run(term *terminal) error {
	if _, err := os.Lstat(c.File); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s is there already: a backup overwrites nothing", c.File), err)
	}
	passphrase, err := c.read(term)
	if err != nil {
		return err
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		began := time.Now()
		n, err := writeNew(c.File, func(w io.Writer) (int64, error) {
			if !c.given() {
				return api.Backup(ctx, w, false)
			}
			return sealedBackup(ctx, api, w, passphrase)
		})
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(term.out, map[string]any{"file": c.File, "bytes": n, "encrypted": c.given()})
		}
		advice := "It holds everything, password hashes and the cluster's keys too: keep it where only you can read it"
		if c.given() {
			advice = "It is encrypted: without the passphrase nobody can restore it, so keep that elsewhere"
		}
		_, err = fmt.Fprintf(term.out, "%s: %s in %.1f s. %s\n", c.File, sizeOf(uint64(n)), time.Since(began).Seconds(), advice)
		return err
	})
}

// sealedBackup encrypts on the way to the file, so that nothing of it is ever on a disk as it is.
func sealedBackup(ctx context.Context, api *admin.Client, to io.Writer, passphrase string) (int64, error) {
	w, err := sealed.NewWriter(to, passphrase)
	if err != nil {
		return 0, err
	}
	n, err := api.Backup(ctx, w, true)
	if err != nil {
		return n, err
	}
	return n, w.Close()
}

// writeNew makes a file that is there only when all of it is on the disk, and never in the place of another one.
func writeNew(path string, write func(io.Writer) (int64, error)) (n int64, err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := os.Remove(f.Name()); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	n, err = write(f)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return n, err
	}
	// A link, unlike a renaming, fails where somebody else has made the file meanwhile; not every file system has it.
	if err = os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return n, err
	}
	return n, syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type restoreCmd struct {
	passphraseFlag
	Data string `name:"data" placeholder:"DIR" default:"data" env:"TEAMTALK_DATA" help:"Data directory to make. [${default}]"`
	JSON bool   `name:"json" help:"Answer as JSON."`
	File string `arg:"" help:"Backup to read."`

	tools offlineTools
}

// Run makes the data directory.
func (c *restoreCmd) Run(ctx context.Context, term *terminal) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	backup, err := c.open(term, f)
	if err != nil {
		return err
	}
	r, err := c.tools.restore(ctx, c.Data, backup)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(term.out, r)
	}
	_, err = fmt.Fprintf(term.out, "%s holds the state as node %s had it at %s (entry %d, %s).\n"+
		"It is a cluster of its own, of one node: start it with `teamtalkd serve --data %s`, then let others join it, with empty data directories.\n"+
		"Clients of the former cluster log in anew; what they got after the backup is not there.\n",
		c.Data, r.Node, r.Time.Local().Format(time.RFC1123), r.Index, sizeOf(uint64(r.Bytes)), shellQuote(c.Data))
	return err
}

// open decrypts a backup, if it is encrypted.
func (c *restoreCmd) open(term *terminal, file io.Reader) (io.Reader, error) {
	is, rest, err := sealed.Detect(file)
	switch {
	case err != nil:
		return nil, err
	case !is && c.given():
		return nil, fmt.Errorf("%s is not encrypted: leave --passphrase-file out", c.File)
	case !is:
		return rest, nil
	}
	passphrase, err := c.read(term)
	if err != nil {
		return nil, err
	}
	if !c.given() {
		if passphrase, err = askSecret(term, "Passphrase of "+c.File+": ", "this backup is encrypted: say where its passphrase is, with --passphrase-file FILE (- reads it from the standard input)"); err != nil {
			return nil, err
		}
	}
	decrypted, err := sealed.NewReader(rest, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return decrypted, nil
}

type clusterRecoverCmd struct {
	Data string `name:"data" placeholder:"DIR" default:"data" env:"TEAMTALK_DATA" help:"Data directory of the node, which must not run. [${default}]"`
	Yes  bool   `help:"Do it, having read what will be lost."`
	JSON bool   `name:"json" help:"Answer as JSON."`

	tools offlineTools
}

// Run says what will be lost, or does it.
func (c *clusterRecoverCmd) Run(ctx context.Context, term *terminal) error {
	do := c.tools.inspect
	if c.Yes {
		do = c.tools.recover
	}
	r, err := do(ctx, c.Data)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(term.out, r); err != nil {
			return err
		}
	} else if _, err := fmt.Fprint(term.out, c.tell(r)); err != nil {
		return err
	}
	if !c.Yes {
		return errors.New("nothing was done: add --yes to do it")
	}
	return nil
}

func (c *clusterRecoverCmd) tell(r remains) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s in %s: state up to entry %d, log up to entry %d. Members as it knew them: %s.\n\n",
		r.Node, c.Data, r.Applied, r.Log, strings.Join(r.Members, ", "))
	if c.Yes {
		fmt.Fprintf(&b, "IT IS A CLUSTER OF ITS OWN NOW, of one node, with a new history.\n"+
			"Start it with `teamtalkd serve`, and make sure that none of the others ever starts with its old data:\n"+
			"empty their data directories, then let them join this one with a token.\n")
		return b.String()
	}
	fmt.Fprintf(&b, "RECOVERING IT MAKES IT A CLUSTER OF ITS OWN, by itself. Only do that if most of the nodes are lost for good.\n"+
		"  Lost: all that the others acknowledged and this node has not got. Compare the nodes that are left, and take the one with the longest log.\n")
	if r.Log > r.Applied {
		fmt.Fprintf(&b, "  Not certain: entries %d to %d; they will count, whether they were acknowledged or not.\n", r.Applied+1, r.Log)
	}
	fmt.Fprintf(&b, "  Never again: the other nodes with their old data. If one of them runs now, or comes back, there are two clusters that both take messages.\n"+
		"  Clients get a new history: they load their conversations anew.\n"+
		"Make a copy of %s first. If a majority can still be brought back, do that instead, and nothing is lost.\n", c.Data)
	return b.String()
}
