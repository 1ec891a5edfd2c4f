//! A number of places that a reload may change.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Makes `places` as many as `to`, of which there were `from`. Places that are taken are given up as they
/// become free, and until then nobody gets another.
pub(crate) fn resize(places: &Arc<Semaphore>, from: usize, to: usize) {
    if let Some(more) = to.checked_sub(from) {
        return places.add_permits(more);
    }
    let fewer = u32::try_from(from - to).unwrap_or(u32::MAX);
    let places = places.clone();
    tokio::spawn(async move {
        // It is never closed.
        if let Ok(freed) = places.acquire_many_owned(fewer).await {
            freed.forget();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_become_more_at_once_and_fewer_as_they_are_freed() {
        let places = Arc::new(Semaphore::new(2));
        resize(&places, 2, 4);
        let taken: Vec<_> = (0..4).map(|_| places.clone().try_acquire_owned().unwrap()).collect();
        resize(&places, 4, 1);
        tokio::task::yield_now().await;
        let mut taken = taken.into_iter();
        for _ in 0..3 {
            drop(taken.next());
            tokio::task::yield_now().await;
            assert!(places.try_acquire().is_err(), "more are taken than there may be");
        }
        drop(taken.next());
        tokio::task::yield_now().await;
        assert_eq!(places.available_permits(), 1);
    }
}
