"""A control plane that a test scripts message by message (grpcio, xds-protos)."""

import queue
import threading
from concurrent import futures

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 (resolves Any)
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import any_pb2, json_format

TYPE = 'type.googleapis.com/envoy.'
CLUSTER = TYPE + 'config.cluster.v3.Cluster'
ENDPOINTS = TYPE + 'config.endpoint.v3.ClusterLoadAssignment'
LISTENER = TYPE + 'config.listener.v3.Listener'
ROUTE = TYPE + 'config.route.v3.RouteConfiguration'
ADS = {'ads': {}, 'resource_api_version': 'V3'}


def packed(message_type, value):
    """A dictionary in protobuf's JSON as Any."""
    resource = any_pb2.Any()
    resource.Pack(json_format.ParseDict(value, message_type()))
    return resource


def address(port):
    return {'socket_address': {'address': '127.0.0.1', 'port_value': port}}


def cluster(name, **more):
    return packed(cluster_pb2.Cluster, {
        'name': name, 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': ADS}, **more})


def assignment(name, port):
    hosts = [{'endpoint': {'address': address(port)}}]
    return packed(endpoint_pb2.ClusterLoadAssignment, {'cluster_name': name, 'endpoints': [{'lb_endpoints': hosts}]})


def listener(name, port, routes, **rds):
    manager = {
        '@type': TYPE + 'extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
        'stat_prefix': name,
        'rds': {'route_config_name': routes, 'config_source': {**ADS, **rds}},
        'http_filters': [{'name': 'envoy.filters.http.router', 'typed_config': {
            '@type': TYPE + 'extensions.filters.http.router.v3.Router'}}],
    }
    chain = {'filters': [{'name': 'envoy.filters.network.http_connection_manager', 'typed_config': manager}]}
    return packed(listener_pb2.Listener, {'name': name, 'address': address(port), 'filter_chains': [chain]})


def routes(name, to):
    return packed(route_pb2.RouteConfiguration, {'name': name, 'virtual_hosts': [{
        'name': 'all', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': to}}]}]})


class Stream:
    """One stream of the proxy: all that it has asked, and what it is sent."""

    def __init__(self):
        self.requests = []
        self.news = threading.Condition()
        self.responses = queue.Queue()

    def send(self, kind, resources, version='1', nonce='n'):
        self.responses.put(discovery_pb2.DiscoveryResponse(
            type_url=kind, version_info=version, nonce=nonce, resources=resources))

    def came(self, request):
        with self.news:
            self.requests.append(request)
            self.news.notify_all()

    def wait(self, wanted, within=20):
        """The first request on the stream that is wanted; it may have come before."""
        found = lambda: next(filter(wanted, self.requests), None)  # noqa: E731
        with self.news:
            if not self.news.wait_for(lambda: found() is not None, within):
                seen = [(r.type_url.rsplit('.', 1)[-1], r.response_nonce, r.resource_names) for r in self.requests]
                raise AssertionError(f'no such request in {within} s; came: {seen}')
            return found()

    def answer(self, kind, nonce, within=20):
        """The answer to a response: its text of refusal, or None."""
        request = self.wait(lambda r: r.type_url == kind and r.response_nonce == nonce, within)
        return request.error_detail.message if request.HasField('error_detail') else None

    def end(self):
        self.responses.put(None)


class Plane(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """A server whose every new stream waits to be taken by `stream()`."""

    def __init__(self):
        self.streams = queue.Queue()
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[
            ('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)])
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port('127.0.0.1:0')
        self.server.start()

    def StreamAggregatedResources(self, requests, context):
        stream = Stream()

        def read():
            try:
                for request in requests:
                    stream.came(request)
            except Exception:  # the proxy went away; the test sees it by what it waits for
                pass

        threading.Thread(target=read, daemon=True).start()
        self.streams.put(stream)
        while (response := stream.responses.get()) is not None:
            yield response

    def stream(self, within=20):
        return self.streams.get(timeout=within)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(None)
