package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"time"
)

type cursor struct {
	offset int64
	high   int64 // high watermark, -1 until the broker has told it
}

// consume reads all partitions over one connection, all of them in each Fetch,
// one Fetch at a time: what an ordinary consumer does with one broker.
func consume() (result, error) {
	c, shares, err := openTopic()
	if err != nil {
		return nil, err
	}
	if len(shares) > 1 {
		return nil, errors.New("consume reads from one broker, and this topic has several leaders")
	}
	ids := shares[0].ids
	runtime.LockOSThread()
	var got, wire, fetches int64
	start := time.Now()
	for range *passes {
		n, b, f, err := c.readAll(ids)
		if err == nil && *records >= 0 && n != *records {
			err = fmt.Errorf("%d records, expected %d", n, *records)
		}
		if err != nil {
			return result{"records": n}, err
		}
		got, wire, fetches = got+n, wire+b, fetches+f
	}
	r := result{"passes": *passes, "fetches": fetches, "batch_bytes_total": wire, "verified": *verify}
	throughput(r, got, time.Since(start))
	return r, nil
}

func (c *conn) readAll(ids []int32) (got, wire, fetches int64, err error) {
	at := make([]cursor, len(ids))
	for i := range at {
		at[i].high = -1
	}
	progress := time.Now()
	for turn := 0; ; turn++ {
		left := 0
		for _, p := range at {
			if p.high < 0 || p.offset < p.high {
				left++
			}
		}
		if left == 0 {
			return got, wire, fetches, nil
		}
		r, err := c.call(apiFetch, verFetch, func(w *writer) {
			w.i32(-1)  // replica
			w.i32(500) // longest wait, ms
			w.i32(1)   // least bytes
			w.i32(int32(*maxBytes))
			w.i8(0)   // read uncommitted
			w.i32(0)  // no session
			w.i32(-1) //
			w.len(1)
			w.str(*topicName)
			w.len(left)
			for i := range ids { // another one first each time, so that all get on evenly
				k := (i + turn) % len(ids)
				if p := at[k]; p.high >= 0 && p.offset >= p.high {
					continue
				}
				w.i32(ids[k])
				w.i32(-1) // leader epoch
				w.i64(at[k].offset)
				w.i64(-1) // log start
				w.i32(int32(*maxPart))
			}
			w.len(0)  // forgotten topics
			w.str("") // rack
		})
		if err != nil {
			return got, wire, fetches, err
		}
		fetches++
		r.i32() // throttle time
		if e := r.i16(); e != 0 {
			return got, wire, fetches, fmt.Errorf("Fetch: error code %d", e)
		}
		r.i32() // session
		before := got
		for n := r.len(); n > 0; n-- {
			r.str()
			for m := r.len(); m > 0; m-- {
				id, code, high := r.i32(), r.i16(), r.i64()
				r.take(16) // last stable offset, log start
				r.take(16 * r.len())
				r.i32() // preferred replica
				data := r.bytes()
				if r.err != nil {
					break
				}
				if code != 0 {
					return got, wire, fetches, fmt.Errorf("Fetch: partition %d: error code %d", id, code)
				}
				if int(id) < 0 || int(id) >= len(at) {
					return got, wire, fetches, fmt.Errorf("Fetch: partition %d was not asked for", id)
				}
				p := &at[id]
				p.high = high
				g, b, err := p.skip(data)
				got, wire = got+g, wire+b
				if err != nil {
					return got, wire, fetches, fmt.Errorf("partition %d: %w", id, err)
				}
			}
		}
		if r.err != nil {
			return got, wire, fetches, fmt.Errorf("Fetch: %w", r.err)
		}
		if got > before {
			progress = time.Now()
		} else if time.Since(progress) > *timeout {
			return got, wire, fetches, errors.New("Fetch: no more records before the high watermark")
		}
	}
}

// skip walks over the whole batches in b and moves the cursor behind them.
func (p *cursor) skip(b []byte) (records, bytes int64, err error) {
	for len(b) >= batchHeader {
		l := 12 + int(int32(be.Uint32(b[batchLengthAt:])))
		if l > len(b) {
			break // cut off by the limit
		}
		if l < batchHeader || b[batchMagicAt] != 2 {
			return records, bytes, errors.New("not a version 2 batch")
		}
		base := int64(be.Uint64(b))
		last := base + int64(int32(be.Uint32(b[batchLastDeltaAt:])))
		n := int64(int32(be.Uint32(b[batchCountAt:])))
		if last < p.offset {
			return records, bytes, fmt.Errorf("batch up to offset %d, asked from %d", last, p.offset)
		}
		if *verify {
			if base != p.offset || n != last-base+1 {
				return records, bytes, fmt.Errorf("batch of %d records from %d to %d, expected to start at %d", n, base, last, p.offset)
			}
			if sum := be.Uint32(b[batchCRCAt:]); sum != crc32.Checksum(b[batchAttributesAt:l], castagnoli) {
				return records, bytes, fmt.Errorf("batch at offset %d: wrong CRC", base)
			}
		}
		records += n
		bytes += int64(l)
		p.offset = last + 1
		b = b[l:]
	}
	return records, bytes, nil
}
