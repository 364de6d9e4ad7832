package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figures are the medians of one contestant in one scenario.
type figures struct {
	name                                   string
	rounds                                 int
	relayed, cpu, sinkCPU, genCPU, flushes float64
	setup, p50, p99                        float64 // ms
	idle                                   float64 // octets per idle connection
}

// median of the values; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// gather makes the figures of one contestant.
func gather(name string, turns []result) figures {
	of := func(f func(result) float64) float64 {
		var values []float64
		for _, r := range turns {
			values = append(values, f(r))
		}
		return median(values)
	}
	return figures{
		name: name, rounds: len(turns),
		relayed: of(func(r result) float64 { return r.Relayed }),
		cpu:     of(func(r result) float64 { return r.CPU }),
		sinkCPU: of(func(r result) float64 { return r.SinkCPU }),
		genCPU:  of(func(r result) float64 { return r.Report.Generator.CPUPerMessage }),
		flushes: of(func(r result) float64 { return r.Flushes }),
		setup:   of(func(r result) float64 { return float64(r.Report.Setup.P50) / 1000 }),
		p50:     of(func(r result) float64 { return float64(r.Report.Accept.P50) / 1000 }),
		p99:     of(func(r result) float64 { return float64(r.Report.Accept.P99) / 1000 }),
		idle: of(func(r result) float64 {
			if r.Report.Server == nil {
				return 0
			}
			return float64(r.Report.Server.RSSPerIdle)
		}),
	}
}

// limit is one budget: what a contestant must reach against the first.
type limit struct {
	words string
	check func(base, f figures) (got string, met bool)
}

func ratio(words string, of func(figures) float64, good func(ratio float64) bool) limit {
	return limit{words, func(base, f figures) (string, bool) {
		if of(base) == 0 {
			return "–", false
		}
		r := of(f) / of(base)
		return fmt.Sprintf("%.2f ×", r), good(r)
	}}
}

func relayedAtLeast(x float64) limit {
	return ratio(fmt.Sprintf("relayed/s ≥ %g ×", x), func(f figures) float64 { return f.relayed }, func(r float64) bool { return r >= x })
}

func cpuAtMost(x float64) limit {
	return ratio(fmt.Sprintf("CPU ≤ %g ×", x), func(f figures) float64 { return f.cpu }, func(r float64) bool { return r <= x })
}

func flushesAtMost(x float64) limit {
	return limit{fmt.Sprintf("flushes ≤ %g a message", x), func(_, f figures) (string, bool) {
		return fmt.Sprintf("%.2f", f.flushes), f.flushes >= 0 && f.flushes <= x
	}}
}

func p99AtMost(x float64) limit {
	return ratio(fmt.Sprintf("p99 ≤ %g ×", x), func(f figures) float64 { return f.p99 }, func(r float64) bool { return r <= x })
}

func setupAtMost(d time.Duration) limit {
	return limit{fmt.Sprintf("TLS + AUTH ≤ %v", d), func(_, f figures) (string, bool) {
		return fmt.Sprintf("%.1f ms", f.setup), f.setup <= float64(d.Microseconds())/1000
	}}
}

func idleAtMost(octets float64) limit {
	return limit{fmt.Sprintf("memory ≤ %.0f KiB a connection", octets/1024), func(_, f figures) (string, bool) {
		return fmt.Sprintf("%.1f KiB", f.idle/1024), f.idle <= octets
	}}
}

// render makes the page.
func render(results []result) string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nMade by `make bench`: postern beside other relays on the same machine in one run, in turns. What counts is the\n" +
		"ratio. Every relay takes mail over TLS with AUTH, has it on stable storage before it answers 250, and relays it in the clear to\n" +
		"the same receiving server; messages are 10 KB. Each figure is the median of the turns. CPU is that of the relay with all its\n" +
		"processes (and its signer's); generator and receiving server share the machine, so theirs is shown too. Flushes are counted at\n" +
		"the device, whoever caused them. [development.md](development.md#measuring) says how to run it.\n\n")
	fmt.Fprintf(&b, "%s, %d CPUs (%s), Linux %s, %s.\n", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), cpuModel(), kernel(), runtime.Version())
	for _, s := range scenarios {
		writeScenario(&b, s, results)
	}
	return b.String()
}

func writeScenario(b *strings.Builder, s scenario, results []result) {
	var all []figures
	limits := map[string][]limit{}
	for _, c := range s.contestants {
		limits[c.name] = c.limits
		var turns []result
		for _, r := range results {
			if r.Scenario == s.name && r.Contestant == c.name {
				turns = append(turns, r)
			}
		}
		if len(turns) > 0 {
			all = append(all, gather(c.name, turns))
		}
	}
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", s.what)
	b.WriteString("| relay | relayed/s | CPU µs a message | 250 after, p50 | p99 | set-up | flushes a message | CPU of generator, sink | turns |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range all {
		flushes := "–"
		if f.flushes >= 0 {
			flushes = fmt.Sprintf("%.2f", f.flushes)
		}
		fmt.Fprintf(b, "| %s | %.0f | %.0f | %.1f ms | %.1f ms | %.1f ms | %s | %.0f, %.0f µs | %d |\n",
			f.name, f.relayed, f.cpu, f.p50, f.p99, f.setup, flushes, f.genCPU, f.sinkCPU, f.rounds)
	}
	var lines []string
	for _, f := range all {
		for _, l := range limits[f.name] {
			got, met := l.check(all[0], f)
			word := "met"
			if !met {
				word = "**not met**"
			}
			lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s |\n", f.name, l.words, got, word))
		}
	}
	if len(lines) > 0 {
		b.WriteString("\n| relay | budget | measured | |\n|---|---|---|---|\n" + strings.Join(lines, ""))
	}
}

// cpuModel names the processor.
func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

// hasCPUFlag reports whether the processor says that it has a feature.
func hasCPUFlag(flag string) bool {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if flags, ok := strings.CutPrefix(line, "flags"); ok {
			return slices.Contains(strings.Fields(flags), flag)
		}
	}
	return false
}

// kernel is the kernel's release, without what a distribution appends.
func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	release, _, _ := strings.Cut(strings.TrimSpace(string(b)), "-")
	return release
}
