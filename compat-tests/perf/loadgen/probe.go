package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// nap sleeps without the runtime's timers, which round up to a whole ms.
func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&ts, nil)
}

// probe tries again and again, on a new connection each time, until the broker
// gives a correct ApiVersions answer and a Metadata answer that lists a broker
// at the address asked. It says "polling" on standard error when it begins, so
// that the caller can start the broker after that.
func probe() (result, error) {
	runtime.LockOSThread()
	sharpTimers()
	began := nowMono()
	fmt.Fprintln(os.Stderr, "polling")
	host, portText, err := net.SplitHostPort(*bootstrap)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	ms := func(t int64) float64 { return float64(t-began) / 1e6 }
	var attempts int
	var connected, versions int64
	for {
		attempts++
		err := func() error {
			c, err := dial(*bootstrap, 2*time.Second)
			if err != nil {
				return err
			}
			defer c.close()
			if connected == 0 {
				connected = nowMono()
			}
			// On one connection, again and again: a broker may take connections
			// before it knows itself.
			for {
				if err := c.checkVersions(); err != nil {
					return err
				}
				if versions == 0 {
					versions = nowMono()
				}
				brokers, _, err := c.metadata(nil)
				if err != nil {
					return err
				}
				for _, b := range brokers {
					if b.port == int32(port) && (b.host == host || net.ParseIP(host) == nil) {
						return nil
					}
				}
				if nowMono()-began > int64(*timeout) {
					return errors.New("no broker in the Metadata answer")
				}
				attempts++
				nap(*interval)
			}
		}()
		now := nowMono()
		if err == nil {
			return result{"ms": ms(now), "connect_ms": ms(connected), "versions_ms": ms(versions),
				"at_ns": now, "connect_at_ns": connected, "versions_at_ns": versions, "attempts": attempts}, nil
		}
		if now-began > int64(*timeout) {
			return result{"attempts": attempts}, fmt.Errorf("timed out: %w", err)
		}
		nap(*interval)
	}
}
