package main

import (
	"fmt"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// world is what the proxy is to have. Every kind has a version of its own, which changes when the kind does.
type world struct {
	// endpoints by cluster: ports on this machine.
	endpoints map[string][]int
	// bad clusters, which no proxy takes.
	bad []string
	// routes: path prefix to cluster.
	routes map[string]string
	// listeners: name to port.
	listeners map[string]int
	versions  map[types.ResponseType]int
}

func newWorld() *world {
	return &world{
		endpoints: map[string][]int{},
		routes:    map[string]string{},
		listeners: map[string]int{},
		versions:  map[types.ResponseType]int{},
	}
}

// touch gives kinds a new version.
func (w *world) touch(kinds ...types.ResponseType) {
	for _, kind := range kinds {
		w.versions[kind]++
	}
}

// snapshot is the world as go-control-plane's cache takes it.
func (w *world) snapshot(source *core.ConfigSource) (*cachev3.Snapshot, error) {
	snapshot := &cachev3.Snapshot{}
	put := func(kind types.ResponseType, resources []types.Resource) {
		version := fmt.Sprint(w.versions[kind])
		snapshot.Resources[kind] = cachev3.NewResources(version, resources)
	}
	var clusters, endpoints, listeners []types.Resource
	for name, ports := range w.endpoints {
		clusters = append(clusters, edsCluster(name, source))
		endpoints = append(endpoints, assignment(name, ports))
	}
	for _, name := range w.bad {
		refused := edsCluster(name, source)
		refused.ConnectTimeout = durationpb.New(-time.Second)
		// It has no endpoints: to an aggregated stream the cache sends none before all that it has are asked for.
		clusters = append(clusters, refused)
	}
	for name, port := range w.listeners {
		made, err := httpListener(name, port, source)
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, made)
	}
	put(types.Cluster, clusters)
	put(types.Endpoint, endpoints)
	put(types.Listener, listeners)
	put(types.Route, []types.Resource{routeConfig(w.routes)})
	return snapshot, nil
}

func edsCluster(name string, source *core.ConfigSource) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{EdsConfig: source},
		ConnectTimeout:       durationpb.New(time.Second),
	}
}

func address(port int) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address:       "127.0.0.1",
		PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func assignment(name string, ports []int) *endpoint.ClusterLoadAssignment {
	var hosts []*endpoint.LbEndpoint
	for _, port := range ports {
		hosts = append(hosts, &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{
			Endpoint: &endpoint.Endpoint{Address: address(port)},
		}})
	}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints:   []*endpoint.LocalityLbEndpoints{{LbEndpoints: hosts}},
	}
}

const routeName = "routes"

func routeConfig(to map[string]string) *route.RouteConfiguration {
	var all []*route.Route
	for prefix, name := range to {
		if prefix == "/" {
			continue
		}
		all = append(all, oneRoute(prefix, name))
	}
	if name, there := to["/"]; there {
		// The first match wins.
		all = append(all, oneRoute("/", name))
	}
	host := &route.VirtualHost{Name: "all", Domains: []string{"*"}, Routes: all}
	return &route.RouteConfiguration{Name: routeName, VirtualHosts: []*route.VirtualHost{host}}
}

func oneRoute(prefix, name string) *route.Route {
	return &route.Route{
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: prefix}},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: name},
		}},
	}
}

func httpListener(name string, port int, source *core.ConfigSource) (*listener.Listener, error) {
	own, err := anypb.New(&router.Router{})
	if err != nil {
		return nil, err
	}
	manager := &hcm.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{
			Rds: &hcm.Rds{ConfigSource: source, RouteConfigName: routeName},
		},
		HttpFilters: []*hcm.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: own},
		}},
	}
	config, err := anypb.New(proto.Message(manager))
	if err != nil {
		return nil, err
	}
	return &listener.Listener{
		Name:    name,
		Address: address(port),
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listener.Filter_TypedConfig{TypedConfig: config},
		}}}},
	}, nil
}
