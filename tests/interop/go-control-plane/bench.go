package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

const planeCluster = "plane"

// bench is a proxy, the control plane that programs it, and back ends whose answer is their name.
type bench struct {
	plane *plane
	world *world
	// backends by name: their ports.
	backends map[string]int
	admin    int
	listen   int
	second   int
	client   *http.Client
	proxy    *exec.Cmd
	folder   string
	// ended is closed when the proxy has ended.
	ended chan struct{}
}

func start(weir string, mode mode) (*bench, error) {
	folder, err := os.MkdirTemp("", "weir-go-control-plane")
	if err != nil {
		return nil, err
	}
	b := &bench{
		world:    newWorld(),
		backends: map[string]int{},
		client:   &http.Client{Timeout: 5 * time.Second},
		folder:   folder,
		ended:    make(chan struct{}),
	}
	for _, name := range []string{"a", "b", "c"} {
		if b.backends[name], err = backend(name); err != nil {
			return nil, err
		}
	}
	ports, err := free(4)
	if err != nil {
		return nil, err
	}
	b.admin, b.listen, b.second = ports[0], ports[1], ports[2]
	b.plane = newPlane(mode, ports[3])
	if err := b.plane.up(); err != nil {
		return nil, err
	}
	config := filepath.Join(folder, "bootstrap.yaml")
	if err := os.WriteFile(config, []byte(bootstrap(mode, b.plane.port, b.admin)), 0o600); err != nil {
		return nil, err
	}
	said, err := os.Create(filepath.Join(folder, "stderr"))
	if err != nil {
		return nil, err
	}
	b.proxy = exec.Command(weir, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	b.proxy.Stderr = said
	if err := b.proxy.Start(); err != nil {
		return nil, err
	}
	go func() {
		// How it ended shows in what it said.
		_ = b.proxy.Wait()
		close(b.ended)
	}()
	return b, nil
}

func (b *bench) stop() {
	_ = b.proxy.Process.Kill()
	<-b.ended
	b.plane.down()
	_ = os.RemoveAll(b.folder)
}

func backend(name string) (int, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	answer := http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) { fmt.Fprint(writer, name) })
	go http.Serve(socket, answer)
	return socket.Addr().(*net.TCPAddr).Port, nil
}

// free finds ports that nobody uses now.
func free(count int) ([]int, error) {
	var ports []int
	var held []net.Listener
	for range count {
		socket, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, socket)
		ports = append(ports, socket.Addr().(*net.TCPAddr).Port)
	}
	for _, socket := range held {
		socket.Close()
	}
	return ports, nil
}

func bootstrap(mode mode, plane, admin int) string {
	api := "GRPC"
	if mode.delta {
		api = "DELTA_GRPC"
	}
	service := fmt.Sprintf(`{api_type: %s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: %s, `+
		`retry_policy: {retry_back_off: {base_interval: 0.05s, max_interval: 0.5s}}}}]}`, api, planeCluster)
	source := "{ads: {}, resource_api_version: V3}"
	aggregated := "ads_config: " + service + ", "
	if mode.apart {
		source = "{api_config_source: " + service + ", resource_api_version: V3}"
		aggregated = ""
	}
	address := "{socket_address: {address: 127.0.0.1, port_value: %d}}"
	return fmt.Sprintf(`node: {id: "%s", cluster: app}
admin: {address: `+address+`}
dynamic_resources: {%scds_config: %s, lds_config: %s}
static_resources:
  clusters:
  - name: %s
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: `+address+`}}]}]}
`, nodeID, admin, aggregated, source, source, planeCluster, planeCluster, plane)
}

// get asks the proxy: status and body.
func (b *bench) get(port int, path string) (int, string, error) {
	answer, err := b.client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// answers waits until a path is answered by a back end.
func (b *bench) answers(path, want string) error {
	return b.until(fmt.Sprintf("%s is answered by %s", path, want), func() error {
		status, body, err := b.get(b.listen, path)
		if err != nil {
			return err
		}
		if status != 200 || body != want {
			return fmt.Errorf("%d %q", status, body)
		}
		return nil
	})
}

// until looks again and again until there is nothing wrong.
func (b *bench) until(what string, wrong func() error) error {
	end := time.Now().Add(within)
	for {
		err := wrong()
		if err == nil {
			return nil
		}
		select {
		case <-b.ended:
			said, _ := os.ReadFile(filepath.Join(b.folder, "stderr"))
			return fmt.Errorf("the proxy ended: %s", said)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %s for: %s; %w", within, what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// unharmed runs a change under load: no request fails.
func (b *bench) unharmed(change func() error) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var count atomic.Int64
	go func() {
		for ctx.Err() == nil {
			status, body, err := b.get(b.listen, "/")
			if err != nil || status != 200 {
				done <- fmt.Errorf("a request failed: %d %q %w", status, body, err)
				return
			}
			count.Add(1)
			time.Sleep(time.Millisecond)
		}
		done <- nil
	}()
	err := change()
	cancel()
	if lost := <-done; lost != nil {
		err = errors.Join(err, lost)
	}
	if err == nil && count.Load() == 0 {
		err = errors.New("no request was made")
	}
	return err
}
