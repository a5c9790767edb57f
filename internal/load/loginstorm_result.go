package load

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// LoginStormResult is what a storm of logins came to. Times in seconds count from the first 0x0103.
type LoginStormResult struct {
	Via       Via            `json:"via"`
	Logins    int            `json:"logins"`
	Slots     int            `json:"slots"`
	Slack     float64        `json:"slack_s"`
	Arrived   float64        `json:"arrived_s"` // when the last 0x0103 was sent
	Seconds   float64        `json:"through_s"` // when the last one was let in
	PerSecond float64        `json:"per_s"`
	Results   map[string]int `json:"results"`
	Errors    []string       `json:"errors,omitempty"`
	Lost      int            `json:"lost"` // cut off after they were in

	Order   OrderResult   `json:"order"`
	Queue   QueueResult   `json:"queue"`
	Resumes ResumesResult `json:"resumes"`
	Legacy  LegacyResult  `json:"legacy"`

	MemoryBefore int64          `json:"rss_before"`
	MemoryPeak   int64          `json:"rss_peak"`
	MemoryAfter  int64          `json:"rss_after"`
	Before       *MessageResult `json:"bystanders_before"`
	During       *MessageResult `json:"bystanders_during"`
}

// OrderResult says whether logins were let in in the order of their arrival: of those that came when one was already waiting, not more than there are
// slots may have been let in before it, for one password may take longer than another.
type OrderResult struct {
	Compared  int `json:"compared"`
	Overtaken int `json:"overtaken"`     // by more than slots, and by more than slack
	Most      int `json:"most"`          // that overtook one
	MostSeen  int `json:"most_no_slack"` // the same if the clients' clocks were right
}

// QueueResult is what those who waited were told.
type QueueResult struct {
	Queued    int     `json:"queued"`
	Longest   int     `json:"longest"` // position
	Tells     int     `json:"tells"`
	Rises     int     `json:"rises"`   // positions that were higher than the one before
	Repeats   int     `json:"repeats"` // that were the same
	First     Summary `json:"first_word"`
	LateFirst int     `json:"late_first"`
	Silence   float64 `json:"longest_silence_s"`
	Latest    float64 `json:"latest_news_s"` // after they were due
	Late      int     `json:"late"`          // silences that ended too late, by more than slack
	Wait      Summary `json:"wait"`
	EtaWrong  Summary `json:"eta_wrong"` // the first one told
}

// ResumesResult is how sessions were resumed meanwhile.
type ResumesResult struct {
	Wanted     int     `json:"wanted"`
	Done       int     `json:"done"`
	Queued     int     `json:"queued"`
	ByPassword int     `json:"by_password"`
	Gaps       int     `json:"gaps"`
	Retries    int     `json:"retries"`
	Waiting    int     `json:"waiting"` // logins that had come before and were still waiting, at least
	Time       Summary `json:"time"`    // from the beginning of the connection
	Error      string  `json:"error,omitempty"`
}

// LegacyResult is what became of the legacy logins.
type LegacyResult struct {
	Wanted     int            `json:"wanted"`
	Results    map[string]int `json:"results"`
	Late       int            `json:"late"`
	Mute       int            `json:"mute"` // refused without a text
	Unanswered int            `json:"unanswered"`
	Time       Summary        `json:"time"`
	Error      string         `json:"error,omitempty"`
}

// Verdict is nil if all that was promised was kept: everybody got in, in the order of arrival, and was told; sessions that were resumed did not wait;
// legacy clients had their answer in time; and the bystanders lost nothing.
func (r *LoginStormResult) Verdict() error {
	var errs []error
	broken := func(n int, format string, args ...any) {
		if n > 0 {
			errs = append(errs, fmt.Errorf(format, append([]any{n}, args...)...))
		}
	}
	broken(r.Logins-r.Results[loggedInResult], "%d of %d logins came to nothing", r.Logins)
	broken(r.Lost, "%d were cut off after they were in")
	broken(r.Order.Overtaken, "%d logins were overtaken by more than %d others, one of them by %d", r.Slots, r.Order.Most)
	broken(r.Queue.Rises, "%d positions rose")
	broken(r.Queue.LateFirst, "%d logins were not told at once that they wait, one of them only after %s ms", ms(r.Queue.First.Max))
	broken(r.Queue.Late, "%d times news came too late, once by %s s", seconds(r.Queue.Latest))
	broken(r.Resumes.Wanted-r.Resumes.Done, "%d sessions were not resumed: %s", r.Resumes.Error)
	broken(r.Resumes.Queued+r.Resumes.ByPassword+r.Resumes.Gaps, "%d sessions had to wait, log in anew, or were resumed with a gap")
	broken(r.Legacy.Unanswered, "%d legacy logins were not answered: %s", r.Legacy.Error)
	broken(r.Legacy.Late, "%d legacy logins were answered too late, one of them after %s ms", ms(r.Legacy.Time.Max))
	broken(r.Legacy.Mute, "%d legacy logins were refused without a text")
	return errors.Join(append(errs, r.Before.Verdict(), r.During.Verdict())...)
}

// Print writes the result as a table.
func (r *LoginStormResult) Print(w io.Writer) error {
	t := newTable(w)
	t.line("via", "logins", "arrived within s", "let in within s", "per second", "lost", "RSS before MiB", "peak", "after")
	t.line(r.Via, r.Logins, seconds(r.Arrived), seconds(r.Seconds), fmt.Sprintf("%.1f", r.PerSecond), r.Lost, mib(r.MemoryBefore), mib(r.MemoryPeak), mib(r.MemoryAfter))
	t.line()
	t.line("order", "compared", "slots", "overtaken by more", "overtakers at most", "with no slack")
	t.line("", r.Order.Compared, r.Slots, r.Order.Overtaken, r.Order.Most, r.Order.MostSeen)
	t.line()
	q := r.Queue
	t.line("queue", "waited", "longest", "QUEUEs", "rises", "repeats", "longest silence s", "news late by s", "late")
	t.line("", q.Queued, q.Longest, q.Tells, q.Rises, q.Repeats, seconds(q.Silence), seconds(q.Latest), q.Late)
	t.line()
	t.line("ms", "count", "mean", "p50", "p90", "p99", "p99.9", "max")
	for _, row := range []struct {
		name  string
		times Summary
	}{
		{"first word", q.First}, {"wait", q.Wait}, {"eta wrong by", q.EtaWrong}, {"resume", r.Resumes.Time}, {"legacy answer", r.Legacy.Time},
		{"bystanders before", r.Before.Ack}, {"bystanders during", r.During.Ack},
	} {
		t.line(append([]any{row.name, row.times.Count}, row.times.cells()...)...)
	}
	t.line()
	t.line("resumes", "wanted", "done", "queued", "by password", "gaps", "retries", "logins they overtook, at least")
	t.line("", r.Resumes.Wanted, r.Resumes.Done, r.Resumes.Queued, r.Resumes.ByPassword, r.Resumes.Gaps, r.Resumes.Retries, max(0, r.Resumes.Waiting))
	t.line()
	printCounts(t, "results", r.Results)
	printCounts(t, "legacy results", r.Legacy.Results)
	if err := t.flush(); err != nil {
		return err
	}
	for _, e := range r.Errors {
		if _, err := fmt.Fprintln(w, "  for example:", e); err != nil {
			return err
		}
	}
	return nil
}

func printCounts(t *table, name string, counts map[string]int) {
	t.line(name, "")
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		t.line(what, counts[what])
	}
}
