//! The running side of a filter: hooks of one exchange. A filter that needs no waiting costs a virtual call and no
//! allocation; only a waiting one boxes a future.

use crate::base::headers::HeaderBlock;
use crate::codec::message::{Part, RequestHead, ResponseHead};
use crate::failure::Failure;
use crate::http::reply::Reply;
use crate::model::plugin::{PluginConfig, RouteFilterConfig};
use crate::observe::metrics::Cells;
use crate::observe::record::Record;
use std::any::Any;
use std::future::Future;
use std::pin::Pin;

/// What a hook says.
pub enum Step {
    /// Go on.
    Continue,
    /// Answer with this; the response side of the chain still runs.
    Reply(Box<Reply>),
    /// Call [`HttpFilter::resumed`] when this has completed.
    Wait(Pin<Box<dyn Future<Output = ()>>>),
}

/// What the filters of one exchange tell each other, by type.
#[derive(Default)]
pub struct Shared(Vec<Box<dyn Any>>);

impl Shared {
    /// The one of this type, made at its first use.
    pub fn of<T: Default + 'static>(&mut self) -> Option<&mut T> {
        let at = self.0.iter().position(|kept| kept.is::<T>()).unwrap_or_else(|| {
            self.0.push(Box::new(T::default()));
            self.0.len().saturating_sub(1)
        });
        self.0.get_mut(at).and_then(|kept| kept.downcast_mut())
    }
}

/// What a request hook sees.
pub struct RequestContext<'a> {
    /// The request.
    pub request: &'a mut RequestHead,
    /// The exchange's record.
    pub record: &'a mut Record,
    /// The most specific configuration of this slot: weighted cluster, route, virtual host, route configuration.
    pub route_config: Option<&'a RouteFilterConfig>,
    /// Cluster that the route chose, if it chose one.
    pub cluster: Option<&'a str>,
    /// `http.<prefix>.` statistics of the connection manager.
    pub stats: &'a Cells,
    /// The connection manager's prefix, for a filter's own statistics.
    pub stat_prefix: &'a str,
    /// What filters tell each other.
    pub shared: &'a mut Shared,
}

/// What a response hook sees.
pub struct ResponseContext<'a> {
    /// The request as it was forwarded.
    pub request: &'a HeaderBlock,
    /// The response.
    pub response: &'a mut ResponseHead,
    /// The exchange's record.
    pub record: &'a mut Record,
    /// The most specific configuration of this slot.
    pub route_config: Option<&'a RouteFilterConfig>,
    /// The body, as far as it was asked for, when a filter gathers it; it goes no further then.
    pub gathered: Option<&'a [u8]>,
    /// The connection manager's prefix, for a filter's own statistics.
    pub stat_prefix: &'a str,
    /// What filters tell each other.
    pub shared: &'a mut Shared,
}

/// One filter in one exchange.
pub trait HttpFilter {
    /// The request head.
    fn request(&mut self, _cx: &mut RequestContext<'_>) -> Step {
        Step::Continue
    }

    /// What it waited for is there.
    fn resumed(&mut self, _cx: &mut RequestContext<'_>) -> Step {
        Step::Continue
    }

    /// Does it turn the response's body into something else, before the head can go? Then at most so many bytes of it
    /// are read first, and the rest is dropped.
    fn gathers(&self, _head: &ResponseHead) -> Option<usize> {
        None
    }

    /// The response head, of the upstream or our own.
    fn response(&mut self, _cx: &mut ResponseContext<'_>) {}

    /// Does it look at the bytes of the bodies? Asked when the request's head has passed.
    fn taps(&self) -> bool {
        false
    }

    /// Bytes of the request's body, as they come.
    fn request_data(&mut self, _bytes: &[u8]) {}

    /// Bytes of the response's body, as they go.
    fn response_data(&mut self, _bytes: &[u8]) {}

    /// Does it change the request's body? Asked when the request's head has passed.
    fn changes_request(&self) -> bool {
        false
    }

    /// Does it change the response's body? Asked when the response's head has passed.
    fn changes_response(&self) -> bool {
        false
    }

    /// A part of the request's body, in the order of the chain, when some filter changes it. A part may be left
    /// without bytes; one that ends the body is the last. A failure is answered.
    fn change_request(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        self.request_data(part.data.as_slice());
        Ok(())
    }

    /// A part of the response's body, in reverse order, when some filter changes it. A failure cuts the stream.
    fn change_response(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        self.response_data(part.data.as_slice());
        Ok(())
    }

    /// Does it want the upstream's metadata in the record?
    fn wants_upstream(&self) -> bool {
        false
    }

    /// The exchange ends: what other filters may want to know is written down.
    fn finish(&mut self, _record: &mut Record) {}

    /// The exchange has ended; all filters have finished.
    fn ended(&mut self, _record: &Record) {}

    /// Most response body bytes per second, when this filter limits them.
    fn response_rate(&self) -> Option<u64> {
        None
    }
}

/// Makes the running part of a slot from its configuration; none when the configuration is not its own.
pub type RunFn = fn(&PluginConfig) -> Option<Box<dyn HttpFilter>>;
