//! What a container can be, and what it costs.

/// What a container can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Auto,
    VideoRemix,
    SlideshowRemix,
    UgcRemix,
}

impl Format {
    pub(super) const ALL: [Self; 4] = [Self::Auto, Self::VideoRemix, Self::SlideshowRemix, Self::UgcRemix];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::VideoRemix => "video_remix",
            Self::SlideshowRemix => "slideshow_remix",
            Self::UgcRemix => "ugc_remix",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Credits for one container.
    pub(super) fn price(self) -> u64 {
        match self {
            Self::Auto | Self::VideoRemix | Self::UgcRemix => 120,
            Self::SlideshowRemix => 50,
        }
    }
}
