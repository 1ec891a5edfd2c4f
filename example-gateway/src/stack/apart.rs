//! Work on long bodies, apart from the threads that serve clients.
//!
//! What reads a body takes a nanosecond for each byte, or many where it is made to. On the thread of a
//! connection all other clients of that thread would wait.

use std::future::poll_fn;
use std::num::NonZero;
use std::sync::LazyLock;
use std::task::Poll;
use std::thread;

use affinity_layer::{Rejection, affinity::ReadBody};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tracing::Instrument;
use tracing::instrument::WithSubscriber;

use super::memory::SMALL;
use crate::body::Envelope;

/// As many long bodies are read at once as half of the processors, so that the rest goes on serving.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    Semaphore::new((processors / 2).max(1))
});

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
    // It is never closed.
    let place = PLACES.acquire().await.ok();
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
    use super::*;

    #[tokio::test]
    async fn a_long_body_is_read_on_another_thread_and_a_short_one_here() {
        let here = thread::current().id();
        let thread = |length| apart(length, || thread::current().id());
        assert_eq!(thread(SMALL).await.unwrap(), here);
        assert_ne!(thread(SMALL + 1).await.unwrap(), here);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_begins_on_another_thread_and_goes_on_here() {
        let here = thread::current().id();
        let work = async || {
            let began = thread::current().id();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            (began, thread::current().id())
        };
        assert_eq!(apart_until_it_waits(SMALL, work()).await.unwrap(), (here, here));
        let (began, ended) = apart_until_it_waits(SMALL + 1, work()).await.unwrap();
        assert_ne!(began, here);
        assert_eq!(ended, here);
        // Those that wait hold no place, of which there are as many as half of the processors.
        let all = (0..1000).map(|_| apart_until_it_waits(SMALL + 1, work()));
        let began = tokio::time::Instant::now();
        futures_util::future::join_all(all).await;
        assert_eq!(began.elapsed().as_secs(), 1);
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
