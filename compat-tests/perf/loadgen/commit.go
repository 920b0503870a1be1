package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Errors of a coordinator that is not ready: loading, not known, not here.
func isNotReady(code int16) bool { return code >= 14 && code <= 16 }

func groupName(i int) string { return fmt.Sprintf("%s-group-%d", *topicName, i) }

// commitBody is OffsetCommit for nobody in particular, the same offset for all
// partitions.
func commitBody(group string, partitions int, offset int64) func(*writer) {
	return func(w *writer) {
		w.str(group)
		w.i32(-1)
		w.str("")
		w.len(1)
		w.str(*topicName)
		w.len(partitions)
		for p := range partitions {
			w.i32(int32(p))
			w.i64(offset)
			w.str("")
		}
	}
}

// committedAnswer reads the answer: the first error, or 0.
func committedAnswer(r *reader) (int16, error) {
	r.i32()
	var first int16
	for range r.len() {
		r.str()
		for range r.len() {
			r.i32()
			if code := r.i16(); code != 0 && first == 0 {
				first = code
			}
		}
	}
	return first, r.err
}

// openGroups connects and waits until every group can be committed for.
func openGroups() (*conn, error) {
	c, err := dial(*bootstrap, *timeout)
	if err != nil {
		return nil, err
	}
	until := time.Now().Add(*timeout)
	for i := 0; i < *groups; {
		if i == 0 {
			// It makes the topic of offsets.
			if _, err := c.call(apiFindCoordinator, verFindCoordinator, func(w *writer) { w.str(groupName(0)) }); err != nil {
				return nil, err
			}
		}
		r, err := c.call(apiOffsetCommit, verOffsetCommit, commitBody(groupName(i), *parts, 0))
		if err != nil {
			return nil, err
		}
		code, err := committedAnswer(r)
		switch {
		case err != nil:
			return nil, err
		case code == 0:
			i++
		case !isNotReady(code) || time.Now().After(until):
			return nil, fmt.Errorf("commit for %s: error %d", groupName(i), code)
		default:
			nap(50 * time.Millisecond)
		}
	}
	return c, nil
}

// commit sends OffsetCommit requests of many groups at a fixed rate, latency
// from the intended send time.
func commit() (result, error) {
	first, err := openGroups()
	if err != nil {
		return nil, err
	}
	first.close()
	n := int(*records)
	gap := float64(time.Second) / *perSecond
	latency := make([][]int64, *conns)
	failures := make(chan error, *conns*2)
	start := time.Now().Add(50 * time.Millisecond)
	intended := func(i int) time.Time { return start.Add(time.Duration(float64(i) * gap)) }
	var wait sync.WaitGroup
	for k := range *conns {
		c, err := dial(*bootstrap, *timeout)
		if err != nil {
			return nil, err
		}
		defer c.close()
		wait.Add(2)
		go func() {
			defer wait.Done()
			for i := k; i < n; i += *conns {
				nap(time.Until(intended(i)))
				body := commitBody(groupName(i%*groups), *parts, int64(i / *groups)+1)
				if err := c.write(frame(apiOffsetCommit, verOffsetCommit, int32(i), body)); err != nil {
					failures <- err
					return
				}
			}
		}()
		go func() {
			defer wait.Done()
			for i := k; i < n; i += *conns {
				b, err := c.response(int32(i))
				if err == nil {
					var code int16
					if code, err = committedAnswer(&reader{b: b}); err == nil && code != 0 {
						err = fmt.Errorf("commit %d: error %d", i, code)
					}
				}
				if err != nil {
					failures <- err
					return
				}
				latency[k] = append(latency[k], int64(time.Since(intended(i))))
			}
		}()
	}
	wait.Wait()
	took := time.Since(start)
	select {
	case err := <-failures:
		return nil, err
	default:
	}
	all := slices.Concat(latency...)
	slices.Sort(all)
	return result{"requests": n, "secs": took.Seconds(), "requests_per_s": float64(n) / took.Seconds(),
		"commits_per_s": float64(n*(*parts)) / took.Seconds(), "p50_ms": percentileMs(all, .5),
		"p99_ms": percentileMs(all, .99), "max_ms": percentileMs(all, 1)}, nil
}

// committed waits until the offsets of all groups are answered.
func committed() (result, error) {
	until := time.Now().Add(*timeout)
	var c *conn
	for i := 0; i < *groups; {
		if time.Now().After(until) {
			return nil, fmt.Errorf("%s has no offsets in time", groupName(i))
		}
		if c == nil {
			fresh, err := dial(*bootstrap, *timeout)
			if err != nil {
				nap(*interval)
				continue
			}
			c = fresh
		}
		code, known, err := fetchOffsets(c, groupName(i))
		switch {
		case err != nil:
			c.close()
			c = nil
		case isNotReady(code):
			nap(*interval)
		case code != 0 || known != *parts:
			return nil, fmt.Errorf("%s: error %d, %d offsets", groupName(i), code, known)
		default:
			i++
		}
	}
	return result{"groups": *groups, "offsets": *groups * *parts}, nil
}

// fetchOffsets asks for all offsets of a group: how many there are.
func fetchOffsets(c *conn, group string) (code int16, known int, err error) {
	r, err := c.call(apiOffsetFetch, verOffsetFetch, func(w *writer) {
		w.str(group)
		w.i32(-1)
	})
	if err != nil {
		return 0, 0, err
	}
	r.i32()
	for range r.len() {
		r.str()
		for range r.len() {
			r.i32()
			if r.i64() >= 0 {
				known++
			}
			r.i32()
			r.str()
			if partition := r.i16(); partition != 0 {
				code = partition
			}
		}
	}
	if whole := r.i16(); whole != 0 {
		code = whole
	}
	return code, known, r.err
}
