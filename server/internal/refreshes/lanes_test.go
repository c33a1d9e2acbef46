package refreshes

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testLanes(l Limits) *lanes {
	return newLanes(l.orDefaults(), func() float64 { return 0.5 })
}

// Whatever is added, run and ended in whatever order: no limit is passed, nothing is
// lost nor run twice, and nobody who may run is passed over for long.
func TestLanesKeepTheirLimitsAndLoseNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			Running: rapid.IntRange(1, 12).Draw(t, "running"), Queued: rapid.IntRange(1, 40).Draw(t, "queued"),
			PerWebhook: rapid.IntRange(1, 4).Draw(t, "per webhook"), PerProvider: rapid.IntRange(1, 4).Draw(t, "per provider"),
		}
		l := testLanes(limits)
		now := time.Unix(1_800_000_000, 0)
		waiting, running := map[*job]bool{}, map[*job]bool{}
		passedOver := map[string]int{} // how often others ran while a lane had somebody who might
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				j := &job{host: fmt.Sprint("host ", rapid.IntRange(0, 5).Draw(t, "host"))}
				if rapid.Bool().Draw(t, "mediated") {
					j.provider = fmt.Sprint("provider ", rapid.IntRange(0, 2).Draw(t, "provider"))
				}
				later, added := l.Add(j, now)
				if added {
					waiting[j] = true
				} else if !later.After(now) || later.After(now.Add(2*maxSpread)) {
					t.Fatalf("told to come again at %v, want within %v of %v", later, 2*maxSpread, now)
				}
			},
			"next": func(t *rapid.T) {
				j := l.Next()
				if j == nil {
					return
				}
				if !waiting[j] {
					t.Fatal("a job ran that did not wait")
				}
				delete(waiting, j)
				running[j] = true
				passedOver[j.host] = 0
				for other := range waiting {
					if one := l.of[other.host]; other.host != j.host && other.provider == "" && one.pace <= slowPace && one.running < l.limits.PerWebhook {
						passedOver[other.host]++
					}
				}
				for host, n := range passedOver {
					if n > 40*6 { // of its waiting jobs, each counted for each turn of the others
						t.Fatalf("%s was passed over %d times", host, n)
					}
				}
			},
			"done": func(t *rapid.T) {
				for j := range running {
					took := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 30 * time.Second}).Draw(t, "took")
					l.Done(j, took, now)
					delete(running, j)
					return
				}
			},
			"drop": func(t *rapid.T) {
				host := fmt.Sprint("host ", rapid.IntRange(0, 5).Draw(t, "host"))
				for _, j := range l.Drop(func(j *job) bool { return j.host == host }) {
					if !waiting[j] || j.host != host {
						t.Fatal("dropped what did not wait there")
					}
					delete(waiting, j)
				}
			},
			"": func(t *rapid.T) {
				perHost, perProvider, slow := map[string]int{}, map[string]int{}, 0
				for j := range running {
					perHost[j.host]++
					if j.provider != "" {
						perProvider[j.provider]++
					}
					if l.of[j.host].pace > slowPace {
						slow++
					}
				}
				for host, n := range perHost {
					if n > l.limits.PerWebhook || n != l.of[host].running {
						t.Fatalf("%d of %s run, %d by its own count, want at most %d", n, host, l.of[host].running, l.limits.PerWebhook)
					}
				}
				for provider, n := range perProvider {
					if n > l.limits.PerProvider || n != l.providers[provider] {
						t.Fatalf("%d at %s, %d counted, want at most %d", n, provider, l.providers[provider], l.limits.PerProvider)
					}
				}
				gotRunning, gotQueued, _ := l.load()
				if len(running) > l.limits.Running || gotRunning != len(running) || gotQueued != len(waiting) || l.slow != slow {
					t.Fatalf("counts %d running, %d waiting, %d slow; want %d (at most %d), %d, %d", gotRunning, gotQueued, l.slow, len(running), l.limits.Running, len(waiting), slow)
				}
			},
		})
		for {
			for j := range running {
				l.Done(j, time.Millisecond, now)
				delete(running, j)
			}
			j := l.Next()
			if j == nil {
				break
			}
			delete(waiting, j)
			running[j] = true
		}
		if len(waiting) != 0 {
			t.Fatalf("%d jobs never run", len(waiting))
		}
	})
}

func TestLanesTakeTurns(t *testing.T) {
	t.Parallel()
	l := testLanes(Limits{PerWebhook: 2})
	now := time.Unix(1_800_000_000, 0)
	for i := range 12 {
		host := "many"
		if i%4 == 3 {
			host = fmt.Sprint("few ", i)
		}
		if _, added := l.Add(&job{host: host}, now); !added {
			t.Fatal("no room")
		}
	}
	var order []string
	for j := l.Next(); j != nil; j = l.Next() {
		order = append(order, j.host)
	}
	if got, want := fmt.Sprint(order), "[many few 3 few 7 few 11 many]"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
}

func TestSlowWebhooksHaveHalfOfThePlacesAtMost(t *testing.T) {
	t.Parallel()
	l := testLanes(Limits{Running: 6, PerWebhook: 2})
	now := time.Unix(1_800_000_000, 0)
	for i := range 6 {
		l.lane(fmt.Sprint("slow ", i)).pace = time.Minute
		for range 2 {
			l.Add(&job{host: fmt.Sprint("slow ", i)}, now)
		}
	}
	running := 0
	for l.Next() != nil {
		running++
	}
	if running != 3 {
		t.Errorf("%d slow ones run, want half of 6", running)
	}
	l.Add(&job{host: "fast"}, now)
	if j := l.Next(); j == nil || j.host != "fast" {
		t.Errorf("next is %+v, want the fast one", j)
	}
}

func TestABreakerOpensTriesAndCloses(t *testing.T) {
	t.Parallel()
	limits := Limits{Failures: 3, FirstWait: 10 * time.Second, LongWait: time.Minute}.orDefaults()
	now := time.Unix(1_800_000_000, 0)
	b := breaker{state: BreakerClosed}
	fail := func() { b.failed(now, limits, 0.5) }
	fail()
	fail()
	b.answered()
	fail()
	fail()
	if ok, trial := b.pass(now); !ok || trial || b.state != BreakerClosed {
		t.Fatalf("after two in a row: %t, %t, %s; want it closed", ok, trial, b.state)
	}
	fail()
	fail() // one that was under way
	for i, wait := range []time.Duration{10, 20, 40, 60, 60} {
		wait *= time.Second
		if ok, _ := b.pass(now.Add(wait - time.Millisecond)); ok || b.state != BreakerOpen {
			t.Fatalf("opened %d times: lets pass before %v", i+1, wait)
		}
		now = now.Add(wait)
		if ok, trial := b.pass(now); !ok || !trial || b.state != BreakerHalfOpen {
			t.Fatalf("opened %d times: after %v %t, %t, %s; want a trial", i+1, wait, ok, trial, b.state)
		}
		if ok, _ := b.pass(now); ok {
			t.Fatal("two trials at a time")
		}
		fail()
	}
	now = now.Add(time.Minute)
	b.pass(now)
	b.settle(now) // called nobody
	if ok, trial := b.pass(now); !ok || !trial {
		t.Fatalf("after a trial that called nobody: %t, %t; want another", ok, trial)
	}
	b.answered()
	b.settle(now)
	if ok, trial := b.pass(now); !ok || trial || b.state != BreakerClosed {
		t.Fatalf("after an answer: %t, %t, %s; want it closed", ok, trial, b.state)
	}
}

func TestLanesOfWhichThereIsNothingToRememberAreForgotten(t *testing.T) {
	t.Parallel()
	l := testLanes(Limits{Failures: 1})
	now := time.Unix(1_800_000_000, 0)
	l.Silent("down", now)
	l.Add(&job{host: "waiting"}, now)
	for i := range 3 * idleLanes {
		l.Answered(fmt.Sprint("host ", i))
	}
	if len(l.of) > idleLanes+2 {
		t.Errorf("%d lanes are remembered, want about %d", len(l.of), idleLanes)
	}
	if l.of["down"] == nil || l.of["down"].breaker.state != BreakerOpen || l.of["waiting"] == nil {
		t.Error("lanes were forgotten of which there is something to remember")
	}
}

func TestALaneLeavesRoomForOthersUnlessItIsFast(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for pace, want := range map[time.Duration]int{time.Millisecond: 40, time.Second: 10, 8 * time.Second: 5, time.Minute: 4} {
		l := testLanes(Limits{Queued: 40, PerWebhook: 4})
		l.lane("one").pace = pace
		got := 0
		for range 1000 {
			if l.queued >= 40 {
				break // nobody claims more
			}
			if _, added := l.Add(&job{host: "one"}, now); added {
				got++
			}
		}
		if got != want {
			t.Errorf("a webhook that takes %v has %d waiting, want %d of 40", pace, got, want)
		}
	}
}
