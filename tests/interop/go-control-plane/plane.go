package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusters "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpoints "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routes "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
)

const nodeID = "sidecar~127.0.0.1~app.default~default.svc.cluster.local"

// plane is the control plane. Its cache outlives the server, as a store outlives a restart.
type plane struct {
	mode  mode
	cache cachev3.SnapshotCache
	port  int

	mutex sync.Mutex
	// nacks are the texts of refusals.
	nacks []string
	// sent are resources sent, by type.
	sent map[string]int

	server *grpc.Server
}

func newPlane(mode mode, port int) *plane {
	return &plane{
		mode:  mode,
		cache: cachev3.NewSnapshotCache(!mode.apart, cachev3.IDHash{}, nil),
		port:  port,
		sent:  map[string]int{},
	}
}

func (p *plane) source() *core.ConfigSource {
	if !p.mode.apart {
		return &core.ConfigSource{
			ResourceApiVersion:    core.ApiVersion_V3,
			ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		}
	}
	kind := core.ApiConfigSource_GRPC
	if p.mode.delta {
		kind = core.ApiConfigSource_DELTA_GRPC
	}
	return &core.ConfigSource{
		ResourceApiVersion: core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_ApiConfigSource{ApiConfigSource: &core.ApiConfigSource{
			ApiType:             kind,
			TransportApiVersion: core.ApiVersion_V3,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: planeCluster},
			}}},
		}},
	}
}

// up starts the server; it may have run before.
func (p *plane) up() error {
	socket, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
	if err != nil {
		return err
	}
	own := serverv3.NewServer(context.Background(), p.cache, p.callbacks())
	p.server = grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(p.server, own)
	clusters.RegisterClusterDiscoveryServiceServer(p.server, own)
	endpoints.RegisterEndpointDiscoveryServiceServer(p.server, own)
	listeners.RegisterListenerDiscoveryServiceServer(p.server, own)
	routes.RegisterRouteDiscoveryServiceServer(p.server, own)
	go p.server.Serve(socket)
	return nil
}

// down ends the server and every stream at once.
func (p *plane) down() {
	p.server.Stop()
}

func (p *plane) callbacks() serverv3.Callbacks {
	refused := func(text string) {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.nacks = append(p.nacks, text)
	}
	counted := func(kind string, count int) {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.sent[kind] += count
	}
	return serverv3.CallbackFuncs{
		StreamRequestFunc: func(_ int64, request *discovery.DiscoveryRequest) error {
			if request.ErrorDetail != nil {
				refused(request.ErrorDetail.Message)
			}
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, request *discovery.DeltaDiscoveryRequest) error {
			if request.ErrorDetail != nil {
				refused(request.ErrorDetail.Message)
			}
			return nil
		},
		StreamResponseFunc: func(_ context.Context, _ int64, _ *discovery.DiscoveryRequest, sent *discovery.DiscoveryResponse) {
			counted(sent.TypeUrl, len(sent.Resources))
		},
		StreamDeltaResponseFunc: func(_ int64, _ *discovery.DeltaDiscoveryRequest, sent *discovery.DeltaDiscoveryResponse) {
			counted(sent.TypeUrl, len(sent.Resources))
		},
	}
}

// put makes the world what is to be.
func (p *plane) put(world *world) error {
	snapshot, err := world.snapshot(p.source())
	if err != nil {
		return err
	}
	return p.cache.SetSnapshot(context.Background(), nodeID, snapshot)
}

// refusals are the texts of the refusals since the last look.
func (p *plane) refusals() []string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	all := p.nacks
	p.nacks = nil
	return all
}

// resources are the resources of a type sent since the start.
func (p *plane) resources(kind string) int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.sent[kind]
}

// all are the resources sent since the start.
func (p *plane) all() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	sum := 0
	for _, count := range p.sent {
		sum += count
	}
	return sum
}
