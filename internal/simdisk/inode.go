//go:build linux

package simdisk

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// A page is the content of pageSize bytes of a file; nil: zeros. It is replaced and never changed, for several versions of a file share it.
type page []byte

// An inode is a file or a directory, with what of it is durable. The disk's mutex guards it.
type inode struct {
	id      uint64
	mode    uint32
	folder  bool
	changed time.Time

	// of a file
	size, safeSize int64
	pages, safe    map[int64]page   // as processes see them, and as synced last
	dirty          map[int64][]page // what pages have been since the last sync, oldest first
	sizes          []int64          // and the size

	// of a directory
	entries, safeEntries map[string]*inode
	changes              []change // since the last sync, oldest first
}

// A change of a directory is that one name goes and another comes, at once.
type change struct {
	goes, comes string // "": none
	what        *inode // what the name that comes is of
}

func (c change) apply(to map[string]*inode) {
	if c.goes != "" {
		delete(to, c.goes)
	}
	if c.comes != "" {
		to[c.comes] = c.what
	}
}

// alter changes a directory.
func (i *inode) alter(c change) {
	c.apply(i.entries)
	i.changes = append(i.changes, c)
	i.changed = time.Now()
}

// sync makes durable what there is.
func (i *inode) sync() {
	if i.folder {
		i.safeEntries, i.changes = maps.Clone(i.entries), nil
		return
	}
	for n := range i.dirty {
		if p, ok := i.pages[n]; ok {
			i.safe[n] = p
		} else {
			delete(i.safe, n)
		}
	}
	i.safeSize, i.sizes = i.size, nil
	clear(i.dirty)
}

// survive brings the inode to what a cut leaves of it, and says how many pages and changes were lost.
func (i *inode) survive(random *rand.Rand) (lost int) {
	if i.folder {
		kept := 0
		if random != nil {
			kept = random.IntN(len(i.changes) + 1)
		}
		for _, c := range i.changes[:kept] {
			c.apply(i.safeEntries)
		}
		lost = len(i.changes) - kept
		i.entries, i.changes = maps.Clone(i.safeEntries), nil
		return lost
	}
	if random != nil && len(i.sizes) > 0 {
		if n := random.IntN(len(i.sizes) + 1); n < len(i.sizes) {
			i.safeSize = i.sizes[n]
		}
	}
	for _, n := range slices.Sorted(maps.Keys(i.dirty)) {
		versions := i.dirty[n]
		left := i.safe[n]
		if random != nil {
			left = choose(append([]page{left}, versions...), random)
		}
		if !slices.Equal(left, i.pages[n]) {
			lost++
		}
		if i.safe[n] = left; left == nil || n*pageSize >= i.safeSize {
			delete(i.safe, n)
		}
	}
	i.size, i.pages, i.sizes = i.safeSize, maps.Clone(i.safe), nil
	clear(i.dirty)
	return lost
}

// choose is one of the versions of a page, or sectors of several.
func choose(versions []page, random *rand.Rand) page {
	one := func() page { return versions[random.IntN(len(versions))] }
	if random.IntN(4) > 0 {
		return one()
	}
	torn := make(page, pageSize)
	for at := 0; at < pageSize; at += sectorSize {
		if from := one(); from != nil {
			copy(torn[at:at+sectorSize], from[at:at+sectorSize])
		}
	}
	return torn
}

// read copies what the file has from an offset.
func (i *inode) read(to []byte, from int64) int {
	if from >= i.size {
		return 0
	}
	to = to[:min(int64(len(to)), i.size-from)]
	for done := 0; done < len(to); {
		at := from + int64(done)
		rest := to[done:min(len(to), done+pageSize-int(at%pageSize))]
		if p := i.pages[at/pageSize]; p != nil {
			copy(rest, p[at%pageSize:])
		} else {
			clear(rest)
		}
		done += len(rest)
	}
	return len(to)
}

// grows is how many pages a write would add.
func (i *inode) grows(length int, at int64) (n int64) {
	for p := at / pageSize; p*pageSize < at+int64(length); p++ {
		if _, ok := i.pages[p]; !ok {
			n++
		}
	}
	return n
}

func (i *inode) write(b []byte, at int64) {
	for len(b) > 0 {
		n, off := at/pageSize, int(at%pageSize)
		part := b[:min(len(b), pageSize-off)]
		fresh := make(page, pageSize)
		copy(fresh, i.pages[n])
		copy(fresh[off:], part)
		i.put(n, fresh)
		b, at = b[len(part):], at+int64(len(part))
	}
	if at > i.size {
		i.resize(at)
	}
	i.changed = time.Now()
}

func (i *inode) put(n int64, p page) {
	if p == nil {
		delete(i.pages, n)
	} else {
		i.pages[n] = p
	}
	i.dirty[n] = append(i.dirty[n], p)
}

// resize truncates the file or makes it longer; it returns how many pages that freed.
func (i *inode) resize(size int64) (freed int64) {
	if size < i.size {
		for _, n := range slices.Sorted(maps.Keys(i.pages)) {
			switch begin := n * pageSize; {
			case begin >= size:
				i.put(n, nil)
				freed++
			case begin+pageSize > size:
				cut := make(page, pageSize)
				copy(cut, i.pages[n][:size-begin])
				i.put(n, cut)
			}
		}
	}
	if size != i.size {
		i.size = size
		i.sizes = append(i.sizes, size)
	}
	i.changed = time.Now()
	return freed
}

// names are those in a directory, sorted.
func (i *inode) names() []string { return slices.Sorted(maps.Keys(i.entries)) }

func (i *inode) walk(do func(*inode)) {
	do(i)
	for _, name := range i.names() {
		i.entries[name].walk(do)
	}
}
