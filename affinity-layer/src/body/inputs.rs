//! Kinds of input other than text.

/// Kinds of input other than text: those that a model accepts, or those in a request.
///
/// ```
/// use affinity_layer::body::Inputs;
///
/// let mut taken = Inputs::default();
/// taken.image = true;
/// assert!(Inputs::ALL.cover(taken) && !taken.cover(Inputs::ALL));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inputs {
    /// Pictures.
    pub image: bool,
    /// Sound.
    pub audio: bool,
    /// Documents of any other kind.
    pub file: bool,
}

impl Inputs {
    /// Every kind: what a model takes that declares nothing.
    pub const ALL: Self = Self { image: true, audio: true, file: true };

    /// Whether all of `other` are among these.
    #[must_use]
    pub fn cover(self, other: Self) -> bool {
        let lacks = |has: bool, needs: bool| needs && !has;
        !(lacks(self.image, other.image)
            || lacks(self.audio, other.audio)
            || lacks(self.file, other.file))
    }
}
