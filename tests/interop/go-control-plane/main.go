// A control plane made of go-control-plane, and what it asks of a proxy that it programs: snapshots, partial updates,
// removals, resources that are refused, restarts. Prints a line for each case; ends with 1 when one failed.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

// within is how long anything may take that has to happen.
const within = 20 * time.Second

// mode is a way to speak with a control plane.
type mode struct {
	name string
	// delta is the dialect; state of the world otherwise.
	delta bool
	// apart gives listeners, routes, clusters and endpoints a stream each; all share one otherwise.
	apart bool
}

var modes = []mode{
	{name: "ads-sotw"},
	{name: "ads-delta", delta: true},
	{name: "types-sotw", apart: true},
	{name: "types-delta", delta: true, apart: true},
}

func main() {
	weir := flag.String("weir", "", "the proxy's program")
	only := flag.String("mode", "", "one mode; all without it")
	flag.Parse()
	failed := false
	for _, mode := range modes {
		if *only != "" && *only != mode.name {
			continue
		}
		bench, err := start(*weir, mode)
		if err != nil {
			fmt.Printf("FAIL %s/start: %v\n", mode.name, err)
			failed = true
			continue
		}
		for _, step := range steps {
			if err := step.run(bench); err != nil {
				fmt.Printf("FAIL %s/%s: %v\n", mode.name, step.name, err)
				failed = true
				// What follows stands on it.
				break
			}
			fmt.Printf("ok   %s/%s\n", mode.name, step.name)
		}
		bench.stop()
	}
	if failed {
		os.Exit(1)
	}
}
