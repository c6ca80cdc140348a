package main

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// step is one thing that a control plane does, and what must come of it. Each begins where the one before ended.
type step struct {
	name string
	run  func(*bench) error
}

var steps = []step{
	{"first-snapshot", firstSnapshot},
	{"one-type-changes", oneTypeChanges},
	{"endpoints-change", endpointsChange},
	{"cluster-and-route-at-once", clusterAndRoute},
	{"bad-resource", badResource},
	{"removals", removals},
	{"restart", restart},
	{"changes-while-away", changesWhileAway},
}

func firstSnapshot(b *bench) error {
	b.world.endpoints["one"] = []int{b.backends["a"]}
	b.world.endpoints["two"] = []int{b.backends["b"]}
	b.world.routes["/"] = "one"
	b.world.listeners["first"] = b.listen
	b.world.listeners["second"] = b.second
	b.world.touch(types.Cluster, types.Endpoint, types.Listener, types.Route)
	if err := b.plane.put(b.world); err != nil {
		return err
	}
	if err := b.answers("/", "a"); err != nil {
		return err
	}
	return b.until("ready", func() error {
		status, body, err := b.get(b.admin, "/ready")
		if err == nil && status != 200 {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
}

func oneTypeChanges(b *bench) error {
	others := func() int {
		return b.plane.resources(resource.ClusterType) + b.plane.resources(resource.ListenerType) +
			b.plane.resources(resource.EndpointType)
	}
	before := others()
	err := b.unharmed(func() error {
		b.world.routes["/"] = "two"
		b.world.touch(types.Route)
		if err := b.plane.put(b.world); err != nil {
			return err
		}
		return b.answers("/", "b")
	})
	if err == nil && others() != before {
		err = fmt.Errorf("%d resources of other types were sent", others()-before)
	}
	return err
}

func endpointsChange(b *bench) error {
	return b.unharmed(func() error {
		b.world.endpoints["two"] = []int{b.backends["c"]}
		b.world.touch(types.Endpoint)
		if err := b.plane.put(b.world); err != nil {
			return err
		}
		return b.answers("/", "c")
	})
}

func clusterAndRoute(b *bench) error {
	return b.unharmed(func() error {
		b.world.endpoints["three"] = []int{b.backends["a"]}
		b.world.routes["/three"] = "three"
		b.world.routes["/"] = "three"
		b.world.touch(types.Cluster, types.Endpoint, types.Route)
		if err := b.plane.put(b.world); err != nil {
			return err
		}
		return b.answers("/three", "a")
	})
}

func badResource(b *bench) error {
	b.plane.refusals()
	err := b.unharmed(func() error {
		b.world.bad = []string{"bad"}
		b.world.endpoints["four"] = []int{b.backends["b"]}
		b.world.routes["/four"] = "four"
		b.world.touch(types.Cluster, types.Endpoint, types.Route)
		if err := b.plane.put(b.world); err != nil {
			return err
		}
		// What came with the bad one is in force.
		return b.answers("/four", "b")
	})
	if err != nil {
		return err
	}
	var texts []string
	err = b.until("a refusal that names the cluster and the field", func() error {
		texts = append(texts, b.plane.refusals()...)
		for _, text := range texts {
			if strings.Contains(text, "bad") && strings.Contains(text, "connect_timeout") {
				return nil
			}
		}
		return fmt.Errorf("refusals: %q", texts)
	})
	if err != nil {
		return err
	}
	b.world.bad = nil
	b.world.touch(types.Cluster, types.Endpoint)
	return b.plane.put(b.world)
}

func removals(b *bench) error {
	err := b.unharmed(func() error {
		delete(b.world.routes, "/four")
		delete(b.world.endpoints, "four")
		delete(b.world.listeners, "second")
		b.world.touch(types.Cluster, types.Endpoint, types.Listener, types.Route)
		if err := b.plane.put(b.world); err != nil {
			return err
		}
		return b.answers("/four", "a")
	})
	if err != nil {
		return err
	}
	err = b.until("the cluster is gone", func() error {
		_, text, err := b.get(b.admin, "/clusters")
		if err == nil && strings.Contains(text, "four::") {
			err = fmt.Errorf("/clusters still has it")
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.until("the listener's port is closed", func() error {
		socket, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.second))
		if err != nil {
			return nil
		}
		socket.Close()
		return fmt.Errorf("it accepts")
	})
}

func restart(b *bench) error {
	var before int
	err := b.unharmed(func() error {
		b.plane.down()
		time.Sleep(500 * time.Millisecond)
		before = b.plane.all()
		if err := b.plane.up(); err != nil {
			return err
		}
		if err := b.connected(); err != nil {
			return err
		}
		// A change that comes after the restart comes through.
		b.world.routes["/"] = "two"
		b.world.touch(types.Route)
		if err := b.plane.put(b.world); err != nil {
			return err
		}
		return b.answers("/", "c")
	})
	if sent := b.plane.all() - before; err == nil && b.plane.mode.delta && sent > 1 {
		err = fmt.Errorf("%d resources were sent for one that changed", sent)
	}
	return err
}

// connected waits until the proxy says that it has its streams back.
func (b *bench) connected() error {
	return b.until("connected", func() error {
		_, text, err := b.get(b.admin, "/stats?filter=connected_state")
		if err == nil && !strings.Contains(text, "control_plane.connected_state: 1") {
			err = fmt.Errorf("%q", text)
		}
		return err
	})
}

func changesWhileAway(b *bench) error {
	return b.unharmed(func() error {
		b.plane.down()
		b.world.routes["/"] = "one"
		delete(b.world.endpoints, "three")
		delete(b.world.routes, "/three")
		b.world.touch(types.Cluster, types.Endpoint, types.Route)
		if err := b.plane.put(b.world); err != nil {
			return err
		}
		if err := b.plane.up(); err != nil {
			return err
		}
		if err := b.answers("/", "a"); err != nil {
			return err
		}
		return b.until("the cluster is gone", func() error {
			_, text, err := b.get(b.admin, "/clusters")
			if err == nil && strings.Contains(text, "three::") {
				err = fmt.Errorf("/clusters still has it")
			}
			return err
		})
	})
}
