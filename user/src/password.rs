//! Passwords: Argon2id on threads of its own, a few at a time, so that a flood of sign-ins slows down sign-ins and
//! nothing else.

use std::{sync::Arc, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use contract::Refusal;
use service::{StartError, fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::AuthConfig;

/// Bytes of a salt (RFC 9106, section 4).
const SALT: usize = 16;

/// Longest wait for a turn: less than the five seconds that a call may take.
const WAIT: Duration = Duration::from_secs(3);

/// Hashes and verifies passwords.
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Verified against where there is no hash, so that it takes as long.
    dummy: String,
    /// One permit for each hash that is worked on.
    working: Arc<Semaphore>,
    /// One permit for each that is worked on or waits.
    admitted: Arc<Semaphore>,
}

/// A place among the hashes that are worked on or wait.
pub struct Admitted(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Passwords {
    /// Refuses parameters that Argon2 does not allow.
    pub fn new(config: &AuthConfig) -> Result<Self, StartError> {
        let invalid = |error| StartError::Invalid(format!("NATTER_AUTH__HASH_MEMORY_KIB, _PASSES, _LANES: {error}"));
        let params =
            Params::new(config.hash_memory_kib, config.hash_passes, config.hash_lanes, None).map_err(invalid)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash(&argon2, "", &rand::random()).map_err(|error| StartError::Invalid(error.to_string()))?;
        let concurrency = match config.hash_concurrency {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1),
            n => n,
        };
        Ok(Self {
            argon2,
            dummy,
            working: Arc::new(Semaphore::new(concurrency)),
            admitted: Arc::new(Semaphore::new(concurrency + config.hash_queue)),
        })
    }

    /// A place among those that are worked on or wait: to be had before anything else is done for one who may be refused.
    pub fn admit(&self) -> Result<Admitted, Refusal> {
        self.admitted.clone().try_acquire_owned().map(Admitted).map_err(|_| refused())
    }

    /// The PHC string of a password, with this salt.
    pub async fn hash(&self, password: &str, salt: [u8; SALT]) -> Result<String, Refusal> {
        let admitted = self.admit()?;
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let hashed = self.work(admitted, move || hash(&argon2, &password, &salt)).await?;
        hashed.map_err(|error| fault("hashing a password", &error))
    }

    /// Whether this is the password of `stored`; `None` takes as long and never is.
    pub async fn verify(&self, admitted: Admitted, password: &str, stored: Option<&str>) -> Result<bool, Refusal> {
        let argon2 = self.argon2.clone();
        let known = stored.is_some();
        let (password, stored) = (password.to_owned(), stored.unwrap_or(&self.dummy).to_owned());
        let right = self
            .work(admitted, move || match PasswordHash::new(&stored) {
                Ok(stored) => Ok(argon2.verify_password(password.as_bytes(), &stored).is_ok()),
                Err(error) => Err(error),
            })
            .await?
            .map_err(|error| fault("reading a stored password hash", &error))?;
        Ok(known && right)
    }

    /// Whether `stored` was made with other parameters than are configured now.
    pub fn is_outdated(&self, stored: &str) -> bool {
        let current = self.argon2.params();
        PasswordHash::new(stored).ok().and_then(|stored| Params::try_from(&stored).ok()).is_none_or(|stored| {
            (stored.m_cost(), stored.t_cost(), stored.p_cost())
                != (current.m_cost(), current.t_cost(), current.p_cost())
        })
    }

    async fn work<T: Send + 'static>(
        &self,
        admitted: Admitted,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        // Who has waited for longer is not waited for any more by the one who asked, and would only hold up others.
        let Ok(working) = tokio::time::timeout(WAIT, self.working.clone().acquire_owned()).await else {
            return Err(refused());
        };
        let working = working.map_err(|error| fault("waiting for a core", &error))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Held to the end of the work itself, also where nobody waits for it any more.
            drop((admitted, working));
            done
        });
        metrics::counter!("natter_user_hashes_total").increment(1);
        done.await.map_err(|error| fault("hashing on another thread", &error))
    }
}

fn refused() -> Refusal {
    metrics::counter!("natter_user_hashes_refused_total").increment(1);
    Refusal::rate_limited(Duration::from_secs(1))
}

fn hash(argon2: &Argon2<'_>, password: &str, salt: &[u8; SALT]) -> argon2::password_hash::Result<String> {
    Ok(PasswordHasher::<PasswordHash>::hash_password_with_salt(argon2, password.as_bytes(), salt)?.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use contract::Code;

    use super::*;

    fn passwords(passes: u32, concurrency: usize, queue: usize) -> Passwords {
        let config = serde_json::json!({
            "signing_key": "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
            "pepper": "ab".repeat(32),
            "access_token_seconds": 900, "session_days": 30,
            "otp_seconds": 300, "otp_tries": 5, "otp_resend_seconds": 60,
            "hash_memory_kib": 64, "hash_passes": passes, "hash_lanes": 1,
            "hash_concurrency": concurrency, "hash_queue": queue,
            "logins": { "per_second": 0, "burst": 0 },
        });
        Passwords::new(&serde_json::from_value(config).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_hash_and_no_other() {
        let passwords = passwords(1, 1, 8);
        let stored = passwords.hash("correct horse", rand::random()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert!(passwords.verify(passwords.admit().unwrap(), "correct horse", Some(&stored)).await.unwrap());
        assert!(!passwords.verify(passwords.admit().unwrap(), "correct house", Some(&stored)).await.unwrap());
        assert!(
            !passwords.verify(passwords.admit().unwrap(), "", None).await.unwrap(),
            "the dummy is nobody's password"
        );
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_verifies_and_is_outdated() {
        let (old, new) = (passwords(1, 1, 8), passwords(2, 1, 8));
        let stored = old.hash("correct horse", rand::random()).await.unwrap();
        assert!(new.verify(new.admit().unwrap(), "correct horse", Some(&stored)).await.unwrap());
        assert!(new.is_outdated(&stored) && !old.is_outdated(&stored));
        assert!(!new.is_outdated(&new.dummy), "the dummy is as much work as the real ones");
    }

    #[tokio::test]
    async fn beyond_the_queue_is_refused_and_the_queue_is_served() {
        let passwords = Arc::new(passwords(1, 1, 1));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let released = Arc::new(AtomicBool::new(false));
        let first = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.work(passwords.admit()?, move || held.recv().is_ok()).await }
        });
        let second = tokio::spawn({
            let (passwords, released) = (passwords.clone(), released.clone());
            async move {
                while passwords.admitted.available_permits() == 2 {
                    tokio::task::yield_now().await;
                }
                passwords.work(passwords.admit()?, move || released.load(Ordering::SeqCst)).await
            }
        });
        while passwords.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.admit().err().unwrap().code, Code::RateLimited);
        // Time for the second to begin, which it must not.
        tokio::time::sleep(Duration::from_millis(50)).await;
        released.store(true, Ordering::SeqCst);
        release.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert!(second.await.unwrap().unwrap(), "began before the first had ended");
        assert!(passwords.work(passwords.admit().unwrap(), || true).await.unwrap());
    }
}
