//! The proxies between this gateway and the providers and routers, as the environment names them.
//!
//! | variable | for |
//! |---|---|
//! | `https_proxy` | addresses of `https://` |
//! | `http_proxy` | addresses of `http://` |
//! | `all_proxy` | either, unless it has its own |
//! | `no_proxy` | hosts that are called directly |
//!
//! As for curl, a name in lower case goes before the same in upper case, and an empty variable is not set. Also as
//! for curl, loopback addresses are no exception unless `no_proxy` names them.
//!
//! A value that cannot be used is an error for each address that it would count for. Calling that address
//! directly instead would pass by what the operator relies on.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::address_block::AddressBlock;
use super::url::{check_host, port_of};

const HTTPS: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const HTTP: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const ALL: [&str; 2] = ["all_proxy", "ALL_PROXY"];
const NONE: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Looks a variable up.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What a variable says: a proxy, or why it names none.
type Named = Result<Arc<ForwardProxy>, String>;

/// The proxies that calls go through; none by default.
#[derive(Clone, Debug, Default)]
pub struct ForwardProxies {
    https: Option<Named>,
    http: Option<Named>,
    exceptions: Arc<[Exception]>,
    /// What is wrong with `no_proxy`.
    ignored: Option<String>,
}

/// A proxy that calls go through. Its forms as text show no credentials.
pub struct ForwardProxy {
    /// The variable that names it.
    variable: &'static str,
    /// Scheme, host and port.
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// An entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Block(AddressBlock),
    /// A name, in lower case, and all below it.
    Domain(String),
}

impl ForwardProxies {
    /// What the environment of the process says.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::read(&|name| std::env::var_os(name))
    }

    /// The proxy on the way to `base`.
    #[must_use]
    pub fn of(&self, base: &Uri) -> Option<&Arc<ForwardProxy>> {
        self.named(base)?.as_ref().ok()
    }

    /// The proxy that is sent requests for `base` themselves. By `https` there is a tunnel instead.
    #[must_use]
    pub fn forwarder(&self, base: &Uri) -> Option<&Arc<ForwardProxy>> {
        self.of(base).filter(|_| base.scheme_str() != Some("https"))
    }

    /// Why `base` cannot be called, if what the environment names for it cannot be used.
    pub(super) fn problem(&self, base: &Uri) -> Option<&str> {
        self.named(base)?.as_ref().err().map(String::as_str)
    }

    /// What is ignored of `no_proxy`, in words.
    pub(super) fn ignored(&self) -> Option<&str> {
        self.ignored.as_deref()
    }

    pub(super) fn read(env: Env<'_>) -> Self {
        let set = |names: [&'static str; 2]| {
            let value = |name| Some((name, env(name).filter(|value| !value.is_empty())?));
            names.into_iter().find_map(value)
        };
        let proxy = |names| set(names).map(|(name, value)| ForwardProxy::read(name, &value));
        let (all, (exceptions, ignored)) = (proxy(ALL), Exception::read_all(set(NONE)));
        Self {
            https: proxy(HTTPS).or_else(|| all.clone()),
            http: proxy(HTTP).or(all),
            exceptions,
            ignored,
        }
    }

    fn named(&self, base: &Uri) -> Option<&Named> {
        let named = if base.scheme_str() == Some("https") { &self.https } else { &self.http };
        let named = named.as_ref()?;
        let host = base.host()?.trim_matches(['[', ']']).trim_end_matches('.');
        let (host, port) = (host.to_ascii_lowercase(), port_of(base));
        let is_direct = self.exceptions.iter().any(|exception| exception.means(&host, port));
        (!is_direct).then_some(named)
    }
}

impl ForwardProxy {
    /// Where it is: scheme, host and port.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What it is shown as `proxy-authorization`.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Its address as people read it.
    #[must_use]
    pub fn address(&self) -> String {
        self.uri.to_string().trim_end_matches('/').to_owned()
    }

    fn read(variable: &'static str, value: &OsStr) -> Named {
        let proxy = Self::parse(variable, value).map_err(|why| format!("{variable}: {why}"))?;
        Ok(Arc::new(proxy))
    }

    /// What is wrong is said without repeating the value, which may hold a password.
    fn parse(variable: &'static str, value: &OsStr) -> Result<Self, &'static str> {
        const SHAPE: &str = "must be the address of a proxy, such as http://proxy.example:3128";
        let text = value.to_str().ok_or(SHAPE)?.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" => {}
            socks if socks.starts_with("socks") => {
                return Err("SOCKS is not supported; name a proxy of http:// or https://");
            }
            _ => return Err(SHAPE),
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let uri: Uri = format!("{scheme}://{host}").parse().map_err(|_| SHAPE)?;
        check_host(uri.authority().ok_or(SHAPE)?)?;
        let authorization = user.map(basic).transpose()?;
        Ok(Self { variable, uri, authorization })
    }
}

/// The credentials of a URL, as a proxy takes them.
fn basic(user: &str) -> Result<HeaderValue, &'static str> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut text: Vec<u8> = percent_decode_str(user).collect();
    text.push(b':');
    text.extend(percent_decode_str(password));
    let text = format!("Basic {}", BASE64_STANDARD.encode(text));
    let mut value = HeaderValue::try_from(text).map_err(|_| "has a user that cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Display for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address(), self.variable)
    }
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Exception {
    /// The entries of `no_proxy`, and what is wrong with it.
    fn read_all(set: Option<(&'static str, OsString)>) -> (Arc<[Self]>, Option<String>) {
        let Some((name, value)) = set else { return (Arc::default(), None) };
        let text = value.to_string_lossy();
        let entries = text.split([',', ' ', '\t', '\n']).filter(|entry| !entry.is_empty());
        let (mut read, mut ignored) = (Vec::new(), Vec::new());
        for entry in entries {
            match Self::parse(entry) {
                Some(exception) => read.push(exception),
                None => ignored.push(entry.escape_debug().to_string()),
            }
        }
        let why = "is neither a host, a domain nor a block of addresses, and has no effect";
        let ignored = ignored.first().map(|first| format!("{name}: {first} {why}"));
        (read.into(), ignored)
    }

    fn parse(entry: &str) -> Option<Self> {
        let (hosts, port) = match entry.rsplit_once(':') {
            // The other colons are those of an IPv6 address.
            Some((hosts, port)) if !hosts.contains(':') || hosts.ends_with(']') => {
                (hosts, Some(port.parse().ok()?))
            }
            _ => (entry, None),
        };
        let address = hosts.split_once('/').map_or(hosts, |(address, _)| address);
        let is_address = address.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let hosts = if hosts == "*" {
            Hosts::All
        } else if is_address {
            Hosts::Block(AddressBlock::parse(hosts).ok()?)
        } else {
            let name = hosts.strip_prefix('*').unwrap_or(hosts).trim_matches('.');
            let is_name = !name.is_empty() && !name.contains(['*', '/', '[', ']', ':']);
            Hosts::Domain(Some(name).filter(|_| is_name)?.to_ascii_lowercase())
        };
        Some(Self { hosts, port })
    }

    /// Whether it is about `host`, which is in lower case.
    fn means(&self, host: &str, port: u16) -> bool {
        let is_host = match &self.hosts {
            Hosts::All => true,
            Hosts::Block(block) => {
                host.parse::<IpAddr>().is_ok_and(|address| block.holds(address.to_canonical()))
            }
            Hosts::Domain(name) => {
                let above = host.strip_suffix(name.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        };
        is_host && self.port.is_none_or(|own| own == port)
    }
}

#[cfg(test)]
impl ForwardProxies {
    /// What these variables say.
    pub(crate) fn of_variables(variables: &[(&str, &str)]) -> Self {
        Self::read(&|name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> ForwardProxies {
        ForwardProxies::of_variables(variables)
    }

    /// The proxy on the way to `base`.
    fn by(variables: &[(&str, &str)], base: &str) -> Option<String> {
        proxies(variables).of(&base.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_serves_the_rest() {
        let secure = "https://api.openai.com";
        let plain = "http://inference.example:8000";
        for (variables, of_secure, of_plain) in [
            (&[][..], None, None),
            (&[("HTTPS_PROXY", "http://p:1")], Some("http://p:1 (HTTPS_PROXY)"), None),
            (&[("HTTP_PROXY", "p:1")], None, Some("http://p:1 (HTTP_PROXY)")),
            (
                &[("https_proxy", "p:1"), ("HTTPS_PROXY", "q:1")],
                Some("http://p:1 (https_proxy)"),
                None,
            ),
            (
                &[("https_proxy", ""), ("HTTPS_PROXY", "q:1")],
                Some("http://q:1 (HTTPS_PROXY)"),
                None,
            ),
            (
                &[("ALL_PROXY", "https://p"), ("http_proxy", "http://q:1/ignored")],
                Some("https://p (ALL_PROXY)"),
                Some("http://q:1 (http_proxy)"),
            ),
        ] {
            assert_eq!(by(variables, secure).as_deref(), of_secure, "{variables:?}");
            assert_eq!(by(variables, plain).as_deref(), of_plain, "{variables:?}");
        }
    }

    #[test]
    fn hosts_domains_blocks_ports_and_all_can_be_called_directly() {
        for (none, direct, proxied) in [
            ("*", &["http://h", "http://10.0.0.1", "http://[::1]:8"][..], &[][..]),
            ("localhost", &["http://localhost:8", "http://LOCALHOST"], &["http://127.0.0.1"]),
            (
                "Example.com",
                &["http://example.com", "http://a.EXAMPLE.com.", "http://a.b.example.com:8"],
                &["http://notexample.com", "http://example.com.evil"],
            ),
            (".example.com", &["http://example.com", "http://a.example.com"], &["http://h"]),
            ("*.example.com", &["http://example.com", "http://a.example.com"], &["http://h"]),
            ("h:8000", &["http://h:8000", "http://a.h:8000"], &["http://h", "http://h:80"]),
            ("h:80", &["http://h", "http://h:80"], &["http://h:8000"]),
            (
                "10.0.0.0/8, 192.168.1.7,fd00::/8 [::1]:8",
                &["http://10.9.9.9", "http://192.168.1.7:8", "http://[fd00::1]", "http://[::1]:8"],
                &["http://11.0.0.1", "http://192.168.1.8", "http://[::1]", "http://x10.0.0.1"],
            ),
            ("0.0.0.0/0", &["http://10.9.9.9"], &["http://h", "http://[::1]"]),
            ("", &[], &["http://localhost", "http://127.0.0.1"]),
        ] {
            let set = [("http_proxy", "http://p:1"), ("no_proxy", none)];
            assert_eq!(direct.iter().find(|base| by(&set, base).is_some()), None, "{none}");
            assert_eq!(proxied.iter().find(|base| by(&set, base).is_none()), None, "{none}");
            assert_eq!(proxies(&set).ignored(), None);
        }
        for none in ["10.0.0.0/33", "h/8", "a*b", "http://h", "h:", "h:99999", "[::1", "."] {
            let set = [("http_proxy", "http://p:1"), ("NO_PROXY", none)];
            let proxies = proxies(&set);
            let ignored = proxies.ignored().unwrap_or_default();
            assert!(ignored.starts_with(&format!("NO_PROXY: {none} is neither")), "{ignored}");
        }
    }

    #[test]
    fn credentials_are_sent_and_not_shown() {
        for (value, sent) in [
            ("http://me:pass@p:3128", Some("me:pass")),
            ("me:pass@p", Some("me:pass")),
            ("https://me@p/", Some("me:")),
            ("http://a%40b:p%3Ass%2F%C3%A9@p", Some("a@b:p:ss/é")),
            ("http://p", None),
        ] {
            let proxies = proxies(&[("https_proxy", value)]);
            let proxy = proxies.of(&"https://h".parse().unwrap()).unwrap();
            let sent = sent.map(|text| format!("Basic {}", BASE64_STANDARD.encode(text)));
            let authorization = proxy.authorization().map(|value| value.to_str().unwrap());
            assert_eq!(authorization, sent.as_deref(), "{value}");
            assert!(proxy.authorization().is_none_or(HeaderValue::is_sensitive));
            let shown = format!("{proxy} {proxies:?} {}", proxy.uri());
            assert!(
                !["pass", "me:", "a@", "ss"].iter().any(|part| shown.contains(part)),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_an_error_for_the_addresses_that_it_counts_for() {
        let base: Uri = "https://api.openai.com".parse().unwrap();
        for (value, why) in [
            ("socks5h://me:hush@p:1080", "SOCKS is not supported"),
            ("ftp://p", "must be the address of a proxy"),
            ("http://", "must be the address of a proxy"),
            ("http://me:hush@", "must be the address of a proxy"),
            ("http://p p", "must be the address of a proxy"),
            ("http://p:99999", "must have a port"),
            ("http://me:hu/sh@p:3128", "must have a port"),
        ] {
            let set = proxies(&[("ALL_PROXY", value), ("http_proxy", "p:1")]);
            let problem = set.problem(&base).unwrap();
            assert!(problem.starts_with(&format!("ALL_PROXY: {why}")), "{value}: {problem}");
            assert!(!problem.contains("hu"), "{problem}");
            assert!(set.of(&base).is_none());
            assert_eq!(set.problem(&"http://h".parse().unwrap()), None);
            let all_direct = [("ALL_PROXY", value), ("no_proxy", "openai.com")];
            assert_eq!(proxies(&all_direct).problem(&base), None);
        }
    }
}
