//! What the person who runs the application has to know and only the guest would notice: that the host lacks something, or is
//! not as it was configured. Each of these is told of when it is met, and while it lasts once in a while: a guest can bring it
//! about with every packet.

use super::effect::Effect;
use crate::time::{Duration, Instant};

/// How long nothing more is said of what was told.
const PAUSE: Duration = Duration::from_secs(600);

/// What can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The host has no descriptor or memory for a socket.
    Lack,
    /// The poller has no room for a socket.
    Watches,
    /// Nothing can leave from the IPv4 address that was configured for that, or from its port.
    Outbound4,
    /// The same for IPv6.
    Outbound6,
    /// There is no name server that can be asked.
    NameServers,
    /// The buffers of TCP have no memory left.
    Memory,
    /// The program has closed what is the library's.
    Lost,
}

/// When each subject was told of.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    told: Vec<(Subject, Instant)>,
}

impl Warnings {
    /// Tells of a subject, unless that was done lately.
    #[cold]
    pub(crate) fn tell(
        &mut self,
        subject: Subject,
        now: Instant,
        effects: &mut Vec<Effect>,
        text: impl FnOnce() -> String,
    ) {
        self.told.retain(|(_, at)| *at <= now && now - *at < PAUSE);
        if self.told.iter().all(|(told, _)| *told != subject) {
            self.told.push((subject, now));
            effects.push(Effect::Warning(text()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_is_told_of_once_in_a_while() {
        let (mut warnings, mut effects) = (Warnings::default(), Vec::new());
        let mut told = |subject, seconds| {
            for _ in 0..1000 {
                warnings.tell(subject, Instant::from_secs(seconds), &mut effects, || format!("{subject:?}"));
            }
            std::mem::take(&mut effects).len()
        };
        assert_eq!(told(Subject::Lack, 100), 1);
        assert_eq!(told(Subject::Outbound4, 101), 1);
        assert_eq!(told(Subject::Lack, 699), 0);
        assert_eq!(told(Subject::Lack, 700), 1);
        assert_eq!(told(Subject::Outbound4, 700), 0);
    }
}
