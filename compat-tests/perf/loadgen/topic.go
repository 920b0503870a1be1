package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

func topic() (result, error) {
	if *create && *remove || *await && (*create || *remove) || !*create && !*remove && !*await {
		return nil, errors.New("topic needs one of -create, -delete and -await")
	}
	names := []string{*topicName}
	if *count > 1 {
		names = names[:0]
		for i := range *count {
			names = append(names, fmt.Sprintf("%s-%d", *topicName, i))
		}
	}
	if *await {
		return awaitTopics(names)
	}
	c, err := dial(*bootstrap, *timeout)
	if err != nil {
		return nil, err
	}
	if err := c.checkVersions(); err != nil {
		return nil, err
	}
	start := time.Now()
	since := func() float64 { return float64(time.Since(start).Microseconds()) / 1000 }
	r := result{"topics": len(names)}
	var ready func() (bool, error)
	if *create {
		err = c.createTopics(names)
		r["partitions"] = len(names) * max(1, *parts)
		leaders := map[string]*conn{*bootstrap: c}
		ready = func() (bool, error) { return c.served(names, leaders) }
	} else {
		err = c.deleteTopics(names)
		ready = func() (bool, error) { return c.gone(names) }
	}
	r["answer_ms"] = since()
	if err != nil {
		return r, err
	}
	for {
		ok, err := ready()
		if err != nil {
			return r, err
		}
		if ok {
			r["ready_ms"] = since()
			return r, nil
		}
		if time.Since(start) > *timeout {
			return r, errors.New("timed out waiting until the change is visible")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *conn) createTopics(names []string) error {
	var pairs [][2]string
	for _, kv := range strings.Split(*configs, ",") {
		if kv == "" {
			continue
		}
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return fmt.Errorf("-configs: %q is not key=value", kv)
		}
		pairs = append(pairs, [2]string{k, v})
	}
	r, err := c.call(apiCreateTopics, verCreateTopics, func(w *writer) {
		w.len(len(names))
		for _, name := range names {
			w.str(name)
			w.i32(int32(max(1, *parts)))
			w.i16(int16(*rf))
			w.len(0) // assignments
			w.len(len(pairs))
			for _, kv := range pairs {
				w.str(kv[0])
				w.str(kv[1])
			}
		}
		w.i32(int32(timeout.Milliseconds()))
		w.i8(0) // really do it
	})
	if err != nil {
		return err
	}
	r.i32() // throttle time
	seen := 0
	for n := r.len(); n > 0; n-- {
		name, code, message := r.str(), r.i16(), r.str()
		if code != 0 {
			return fmt.Errorf("CreateTopics: %s: error code %d %s", name, code, message)
		}
		seen++
	}
	if r.err != nil || seen != len(names) {
		return fmt.Errorf("CreateTopics: %d of %d topics in the answer", seen, len(names))
	}
	return nil
}

func (c *conn) deleteTopics(names []string) error {
	r, err := c.call(apiDeleteTopics, verDeleteTopics, func(w *writer) {
		w.len(len(names))
		for _, name := range names {
			w.str(name)
		}
		w.i32(int32(timeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	r.i32() // throttle time
	seen := 0
	for n := r.len(); n > 0; n-- {
		name, code := r.str(), r.i16()
		if code != 0 {
			return fmt.Errorf("DeleteTopics: %s: error code %d", name, code)
		}
		seen++
	}
	if r.err != nil || seen != len(names) {
		return fmt.Errorf("DeleteTopics: %d of %d topics in the answer", seen, len(names))
	}
	return nil
}

// served tells whether every partition has a leader and that leader answers for
// it; the metadata can be ahead of the log. It keeps the connections to leaders.
func (c *conn) served(names []string, leaders map[string]*conn) (bool, error) {
	brokers, topics, err := c.metadata(names)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		t, ok := topics[name]
		if !ok || t.err != 0 || len(t.parts) != max(1, *parts) {
			return false, nil
		}
		for _, p := range t.parts {
			if p.err != 0 || p.leader < 0 {
				return false, nil
			}
		}
		shares, err := byLeader(brokers, t.parts)
		if err != nil {
			return false, nil // its leader has just gone
		}
		for _, s := range shares {
			if ok, err := s.answered(name, leaders); !ok {
				return false, err
			}
		}
	}
	return true, nil
}

// answered tells whether the leader serves all of its share.
func (s *share) answered(name string, leaders map[string]*conn) (bool, error) {
	if leaders[s.address] == nil {
		c, err := dial(s.address, *timeout)
		if err != nil {
			return false, err
		}
		leaders[s.address] = c
	}
	codes, err := leaders[s.address].endOffsets(name, s.ids)
	if err != nil {
		return false, err
	}
	return len(codes) == len(s.ids) && !slices.ContainsFunc(codes, func(code int16) bool { return code != 0 }), nil
}

// awaitTopics waits until all is served, from brokers that may not even be started yet.
func awaitTopics(names []string) (result, error) {
	start := time.Now()
	for {
		ok, err := func() (bool, error) {
			c, err := dial(*bootstrap, *timeout)
			if err != nil {
				return false, err
			}
			leaders := map[string]*conn{*bootstrap: c}
			defer func() {
				for _, c := range leaders {
					c.close()
				}
			}()
			return c.served(names, leaders)
		}()
		if ok {
			return result{"ready_ms": float64(time.Since(start).Microseconds()) / 1000}, nil
		}
		if time.Since(start) > *timeout {
			return nil, fmt.Errorf("timed out: not all is served: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *conn) gone(names []string) (bool, error) {
	const unknownTopic = 3
	_, topics, err := c.metadata(names)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if topics[name].err != unknownTopic {
			return false, nil
		}
	}
	return true, nil
}
