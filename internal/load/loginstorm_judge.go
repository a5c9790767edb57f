package load

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"
)

// turn is one login that the server has let in: when it was asked for, when the server was known to have it, for it had said something, and when it
// was answered.
type turn struct{ sent, known, answered time.Duration }

// overtakers counts, for each login, those that were asked for only when it was known to have arrived, and were answered earlier by more than slack:
// that much an answer may have waited for a processor here.
func overtakers(turns []turn, slack time.Duration) []int {
	bySent := slices.Clone(turns)
	slices.SortFunc(bySent, func(a, b turn) int { return cmp.Compare(a.sent, b.sent) })
	place := func(sent time.Duration) int { // how many were asked for up to then
		n, _ := slices.BinarySearchFunc(bySent, sent, func(t turn, at time.Duration) int {
			if t.sent <= at {
				return -1
			}
			return 1
		})
		return n
	}
	byAnswer := make([]int, len(turns))
	for i := range byAnswer {
		byAnswer[i] = i
	}
	slices.SortFunc(byAnswer, func(a, b int) int { return cmp.Compare(turns[a].answered, turns[b].answered) })

	counts, before := make([]int, len(turns)), newTally(len(turns))
	passed := 0 // of byAnswer, those answered more than slack before the one looked at
	for _, i := range byAnswer {
		for ; turns[byAnswer[passed]].answered+slack < turns[i].answered; passed++ {
			before.add(place(turns[byAnswer[passed]].sent))
		}
		counts[i] = passed - before.upTo(place(turns[i].known))
	}
	return counts
}

// tally counts numbers from 1 to n, and tells how many were not above another: a Fenwick tree.
type tally []int

func newTally(n int) tally { return make(tally, n+1) }

func (t tally) add(at int) {
	for ; at < len(t); at += at & -at {
		t[at]++
	}
}

func (t tally) upTo(at int) (n int) {
	for ; at > 0; at -= at & -at {
		n += t[at]
	}
	return n
}

// lateness is by how much the end of a silence came too late: the client had to be told within some time of its last news, or at once if nothing has
// changed before. What is known of changes is that a login begins for each that is answered, but for the last ones of all slots.
func lateness(s silence, answers []time.Duration, told time.Duration, slots int) time.Duration {
	after, _ := slices.BinarySearch(answers, s.from)
	if after += slots; after >= len(answers) {
		return 0
	}
	return max(0, s.to-max(s.from+told, answers[after]))
}

// judge compares what the clients have seen with what was promised.
func (r *rush) judge(out *LoginStormResult) {
	out.Results = map[string]int{}
	var turns []turn
	var answers []time.Duration
	var sent, last time.Duration
	first := time.Duration(math.MaxInt64)
	for _, e := range r.entrants {
		out.Results[e.result]++
		if e.err != nil && len(out.Errors) < maxErrors {
			out.Errors = append(out.Errors, e.err.Error())
		}
		if e.lost {
			out.Lost++
		}
		if e.isSent {
			first, sent = min(first, e.sent), max(sent, e.sent)
		}
		if e.err == nil {
			last = max(last, e.answered)
			turns = append(turns, turn{e.sent, e.sent + e.first, e.answered})
		}
	}
	for _, s := range r.legacy {
		if s.in {
			turns = append(turns, turn{s.sent, s.sent + s.took, s.sent + s.took})
		}
	}
	for _, t := range turns {
		answers = append(answers, t.answered)
	}
	slices.Sort(answers)
	if last > first {
		out.Arrived, out.Seconds = (sent - first).Seconds(), (last - first).Seconds()
		out.PerSecond = float64(len(turns)) / out.Seconds
	}
	out.Order = judgeOrder(turns, r.opts)
	out.Queue = r.judgeQueue(answers)
	out.Resumes = r.judgeResumes()
	out.Legacy = r.judgeLegacy()
}

func judgeOrder(turns []turn, o LoginStormOptions) OrderResult {
	out := OrderResult{Compared: len(turns), MostSeen: slices.Max(append(overtakers(turns, 0), 0))}
	for _, n := range overtakers(turns, o.Slack) {
		out.Most = max(out.Most, n)
		if n > o.Slots {
			out.Overtaken++
		}
	}
	return out
}

func (r *rush) judgeQueue(answers []time.Duration) QueueResult {
	var out QueueResult
	var first, waits, wrong []time.Duration
	for _, e := range r.entrants {
		if e.err != nil && e.tells == 0 {
			continue
		}
		first = append(first, e.first)
		if e.err == nil {
			waits = append(waits, e.answered-e.sent)
		}
		if e.tells > 0 {
			out.Queued++
		}
		if e.tells > 0 && e.err == nil {
			wrong = append(wrong, (e.sent + e.first + e.eta - e.answered).Abs())
		}
		out.Tells += e.tells
		out.Rises += e.rises
		out.Repeats += e.repeats
		out.Longest = max(out.Longest, int(e.longest))
		if e.first > r.opts.Told+r.opts.Slack {
			out.LateFirst++
		}
		for _, s := range e.silences {
			late := lateness(s, answers, r.opts.Told, r.opts.Slots)
			out.Silence, out.Latest = max(out.Silence, (s.to-s.from).Seconds()), max(out.Latest, late.Seconds())
			if late > r.opts.Slack {
				out.Late++
			}
		}
	}
	out.First, out.Wait, out.EtaWrong = spread(first), spread(waits), spread(wrong)
	return out
}

func (r *rush) judgeResumes() ResumesResult {
	out := ResumesResult{Wanted: len(r.resumed), Queued: int(r.comers.queued.Load() - r.queued), ByPassword: int(r.comers.tokens.Load()), Gaps: int(r.comers.gaps.Load()),
		Waiting: -1}
	for _, n := range r.comers.refusals {
		out.Retries += n
	}
	var times []time.Duration
	for _, c := range r.resumed {
		if !c.done {
			if c.err != nil && out.Error == "" {
				out.Error = c.err.Error()
			}
			continue
		}
		out.Done++
		times = append(times, c.to-c.from)
		waiting := 0 // of those that came before
		for _, e := range r.entrants {
			if e.isSent && e.sent < c.from && e.answered > c.to {
				waiting++
			}
		}
		if out.Waiting < 0 || waiting < out.Waiting {
			out.Waiting = waiting
		}
	}
	out.Time = spread(times)
	return out
}

func (r *rush) judgeLegacy() LegacyResult {
	out := LegacyResult{Wanted: len(r.legacy), Results: map[string]int{}}
	var times []time.Duration
	for _, s := range r.legacy {
		out.Results[s.result]++
		_, refused := errors.AsType[*refusedError](s.err)
		switch {
		case s.in || refused:
			times = append(times, s.took)
		default:
			out.Unanswered++
			if out.Error == "" && s.err != nil {
				out.Error = s.err.Error()
			}
		}
		if s.took > r.opts.LegacyWithin {
			out.Late++
		}
		if s.mute {
			out.Mute++
		}
	}
	out.Time = spread(times)
	return out
}

// spread is the distribution of times, of any length.
func spread(times []time.Duration) Summary {
	if len(times) == 0 {
		return Summary{}
	}
	slices.Sort(times)
	var sum time.Duration
	for _, d := range times {
		sum += d
	}
	at := func(share float64) int64 {
		return times[max(0, int(math.Ceil(share*float64(len(times))))-1)].Microseconds()
	}
	return Summary{
		Count: int64(len(times)), Mean: float64(sum.Microseconds()) / float64(len(times)), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1),
	}
}
