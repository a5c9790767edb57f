package scalemodel

import (
	"math"
	"time"
)

// Times are how long something took, to five percent.
type Times struct {
	buckets map[int]int64
	Count   int64         `json:"count"`
	Most    time.Duration `json:"most_ns"`
}

const timesBase = 1.05

func (t *Times) add(d time.Duration, n int64) {
	if t.buckets == nil {
		t.buckets = map[int]int64{}
	}
	t.buckets[int(math.Ceil(math.Log(math.Max(float64(d), 1))/math.Log(timesBase)))] += n
	t.Count += n
	t.Most = max(t.Most, d)
}

// Quantile is the time that a share of all took at most.
func (t *Times) Quantile(share float64) time.Duration {
	if t.Count == 0 {
		return 0
	}
	least, most := math.MaxInt, math.MinInt
	for b := range t.buckets {
		least, most = min(least, b), max(most, b)
	}
	left := int64(math.Ceil(share * float64(t.Count)))
	for b := least; b <= most; b++ {
		if left -= t.buckets[b]; left <= 0 {
			return min(time.Duration(math.Pow(timesBase, float64(b))), t.Most)
		}
	}
	return t.Most
}
