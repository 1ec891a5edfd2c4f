//! Work on long bodies, apart from the threads that serve clients.
//!
//! What reads a body takes a nanosecond for each byte, or many where it is made to. On the thread of a
//! connection all other clients of that thread would wait. There are few threads for it, which clients get in
//! [turns](super::fair), so that long bodies of one do not wait for all those of another.

use std::future::poll_fn;
use std::num::NonZero;
use std::sync::LazyLock;
use std::task::Poll;
use std::thread;

use affinity_layer::{Rejection, affinity::ReadBody};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinError, spawn_blocking};
use tracing::Instrument;
use tracing::instrument::WithSubscriber;

use super::fair::FairPlaces;
use super::memory::SMALL;
use crate::body::Envelope;
use crate::extensions::Client;

/// As many long bodies are read at once as half of the processors, so that the rest goes on serving, and
/// half of those of one client.
static PLACES: LazyLock<FairPlaces> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let places = (processors / 2).max(1);
    FairPlaces::new(places, places.div_ceil(2))
});

tokio::task_local! {
    /// Whose request the task is at work on. The layers between the one that knows and those that read
    /// bodies are not ours, or have no use for it.
    static CLIENT: Client;
}

/// Serves a request of `client`, so that its long body is read when it is the client's turn.
pub(crate) async fn of_client<T>(client: Client, serving: impl Future<Output = T>) -> T {
    CLIENT.scope(client, serving).await
}

/// Does `work` on a body of `length` bytes: here if it is small, else on a thread for it.
///
/// # Errors
///
/// When `work` panics.
pub(crate) async fn apart<T: Send + 'static>(
    length: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if length <= SMALL {
        return Ok(work());
    }
    let client = CLIENT.try_with(|client| *client).unwrap_or(Client::Unknown);
    let place = PLACES.acquire(client).await;
    spawn_blocking(move || {
        // Held to the end of the work, also when nobody waits for it any more.
        let _place = place;
        work()
    })
    .await
}

/// The same for work that waits, as for an answer, after it has read the body: the part before its first wait
/// is done apart. So a call that waits holds no thread and no place, however many there are.
///
/// # Errors
///
/// As [`apart`].
pub(crate) async fn apart_until_it_waits<T: Send + 'static>(
    length: usize,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    if length <= SMALL {
        return Ok(work.await);
    }
    let runtime = Handle::current();
    // A thread of its own knows neither of the span nor of who listens.
    let mut work = Box::pin(work.in_current_span().with_current_subscriber());
    let begun = apart(length, move || {
        let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx)));
        (runtime.block_on(first), work)
    });
    match begun.await? {
        (Poll::Ready(done), _) => Ok(done),
        // Polled at once, it is woken here from now on.
        (Poll::Pending, rest) => Ok(rest.await),
    }
}

/// A request whose body is one goes through the affinity layer as it is: what was found in the body
/// stays with it.
impl ReadBody for Envelope {
    async fn read(&mut self, limit: usize) -> Result<Bytes, Rejection> {
        match self.bytes().len() > limit {
            true => Err(Rejection::BodyTooLarge(limit)),
            false => Ok(self.bytes().clone()),
        }
    }

    async fn examine<T: Send + 'static>(
        bytes: Bytes,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Rejection> {
        // It is not done only if the gateway ends, or by a fault of ours.
        apart(bytes.len(), move || work(&bytes)).await.map_err(|_| Rejection::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::Barrier;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_client_s_long_body_does_not_wait_for_all_those_of_another() {
        let many = Client::at(IpAddr::from([10, 0, 0, 1]));
        let few = Client::at(IpAddr::from([10, 0, 0, 2]));
        let (sender, order) = mpsc::channel();
        let read = |of: Client| {
            let sender = sender.clone();
            of_client(of, apart(SMALL + 1, move || sender.send(of).unwrap()))
        };
        // More than are read at once wait already when the other client's comes.
        let mut of_many = Box::pin(join_all((0..200).map(|_| read(many))));
        assert!((&mut of_many).now_or_never().is_none());
        let (of_many, of_few) = tokio::join!(of_many, read(few));
        assert!(of_many.into_iter().all(|read| read.is_ok()) && of_few.is_ok());
        let place = order.try_iter().position(|of| of == few).unwrap();
        assert!(place < 100, "it was read as number {place}");
    }

    #[tokio::test]
    async fn a_long_body_is_read_on_another_thread_and_a_short_one_here() {
        let here = thread::current().id();
        let thread = |length| apart(length, || thread::current().id());
        assert_eq!(thread(SMALL).await.unwrap(), here);
        assert_ne!(thread(SMALL + 1).await.unwrap(), here);
    }

    #[tokio::test]
    async fn work_that_waits_begins_on_another_thread_and_goes_on_here() {
        let here = thread::current().id();
        let work = async || {
            let began = thread::current().id();
            tokio::task::yield_now().await;
            (began, thread::current().id())
        };
        assert_eq!(apart_until_it_waits(SMALL, work()).await.unwrap(), (here, here));
        let (began, ended) = apart_until_it_waits(SMALL + 1, work()).await.unwrap();
        assert_ne!(began, here);
        assert_eq!(ended, here);
    }

    #[tokio::test]
    async fn work_that_waits_holds_no_place() {
        // Each waits until all have begun. There are as many places as half of the processors.
        const ALL: usize = 1000;
        let begun = Arc::new(Barrier::new(ALL));
        let wait = |begun: Arc<Barrier>| async move { begun.wait().await.is_leader() };
        let all = (0..ALL).map(|_| apart_until_it_waits(SMALL + 1, wait(begun.clone())));
        let all = timeout(Duration::from_secs(60), join_all(all)).await.expect("some hold a place");
        assert_eq!(all.into_iter().filter(|leads| *leads.as_ref().unwrap()).count(), 1);
    }

    #[tokio::test]
    async fn the_layer_examines_a_long_body_on_another_thread_too() {
        let here = thread::current().id();
        let examine = |length| {
            let bytes = Bytes::from(vec![b' '; length]);
            Envelope::examine(bytes, |bytes| (bytes.len(), thread::current().id()))
        };
        assert_eq!(examine(SMALL).await.unwrap(), (SMALL, here));
        let (length, thread) = examine(SMALL + 1).await.unwrap();
        assert_eq!(length, SMALL + 1);
        assert_ne!(thread, here);
    }
}
