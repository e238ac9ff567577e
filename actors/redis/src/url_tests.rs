//! What a URL may be.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> RedisUrl {
    match text.parse() {
        Ok(url) => url,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn at(host: &str, port: u16) -> Address {
    let host = host.to_owned();
    Address { host, port }
}

fn login(user: Option<&str>, password: &str) -> Login {
    Login {
        user: user.map(Into::into),
        password: Some(password.into()),
    }
}

#[test]
fn one_url_is_one_server() {
    let url = parsed("redis://redis.example.org");
    assert_eq!(
        url,
        RedisUrl {
            servers: Servers::One(at("redis.example.org", 6379)),
            is_tls: false,
            login: Login::default(),
            db: 0,
        }
    );
    let url = parsed(" rediss://mail:s%40%2Cret:x@[2001:db8::7]:7000/3\n");
    assert_eq!(
        url,
        RedisUrl {
            servers: Servers::One(at("2001:db8::7", 7000)),
            is_tls: true,
            login: login(Some("mail"), "s@,ret:x"),
            db: 3,
        }
    );
    assert_eq!(parsed("redis://:p@ss@h/").login, login(None, "p@ss"));
}

#[test]
fn several_urls_are_a_cluster() {
    let url = parsed("rediss://:pw@a, rediss://b:7001,rediss://:pw@c/");
    let nodes = vec![at("a", 6379), at("b", 7001), at("c", 6379)];
    assert_eq!(url.servers, Servers::Cluster(nodes));
    assert!(url.is_tls);
    assert_eq!(url.login, login(None, "pw"));
}

#[test]
fn sentinels_are_asked_for_a_service() {
    let url = parsed("redis+sentinel://mail:pw@a,b:5000,[::1]/my%20service/2?sentinel_password=s%26");
    let sentinels = vec![at("a", 26379), at("b", 5000), at("::1", 26379)];
    assert_eq!(
        url,
        RedisUrl {
            servers: Servers::Sentinel {
                sentinels,
                service: "my service".into(),
                login: login(None, "s&"),
            },
            is_tls: false,
            login: login(Some("mail"), "pw"),
            db: 2,
        }
    );
    assert!(parsed("rediss+sentinel://a/s").is_tls);
}

#[test]
fn what_is_wrong_is_said_with_what_is_allowed() {
    use RedisUrlError as E;
    let many = vec!["redis://a"; 65].join(",");
    let many_sentinels = format!("redis+sentinel://{}/s", vec!["a"; 65].join(","));
    for (bad, expected) in [
        ("", E::Scheme),
        ("localhost:6379", E::Scheme),
        ("http://a", E::Scheme),
        ("REDIS://a", E::Scheme),
        ("redis+cluster://a", E::Scheme),
        ("unix:///run/redis.sock", E::Scheme),
        ("redis://a,b", E::Scheme),
        ("redis://a,", E::Scheme),
        ("redis://", E::Host),
        ("redis:///0", E::Host),
        ("redis://:6379", E::Host),
        ("redis://a b", E::Host),
        ("redis://2001:db8::7", E::Port),
        ("redis://[2001:db8::7", E::Host),
        ("redis://[example.org]", E::Host),
        ("redis://[::1]x", E::Host),
        ("redis://a:0", E::Port),
        ("redis://a:65536", E::Port),
        ("redis://a:+1", E::Port),
        ("redis://a:", E::Port),
        ("redis://a/x", E::Database),
        ("redis://a/0/1", E::Database),
        ("redis://a/-1", E::Database),
        ("redis://user@a", E::Login),
        ("redis://user:@a", E::Login),
        ("redis://:%ff@a", E::Login),
        ("redis://:100%@a", E::Login),
        ("redis://:%2@a", E::Login),
        ("redis://a?db=1", E::Parameter),
        ("redis://a#1", E::Parameter),
        ("redis://a,rediss://b", E::Cluster),
        ("redis://a,redis://b/1", E::Cluster),
        ("redis://a/1,redis://b", E::Cluster),
        ("redis://:x@a,redis://:y@b", E::Cluster),
        ("redis://a,redis://:y@b", E::Cluster),
        ("redis+sentinel://a", E::Service),
        ("redis+sentinel://a/", E::Service),
        ("redis+sentinel://a//1", E::Service),
        ("redis+sentinel:///s", E::Host),
        ("redis+sentinel://a,/s", E::Host),
        ("redis+sentinel://a/s/x", E::Database),
        ("redis+sentinel://a/s?password=x", E::Parameter),
        ("redis+sentinel://a/s?sentinel_user=x", E::Login),
        (&many, E::TooMany),
        (&many_sentinels, E::TooMany),
    ] {
        let error = bad.parse::<RedisUrl>().unwrap_err();
        assert_eq!(error, expected, "{bad}");
        assert!(error.to_string().starts_with("redis.url: "), "{error}");
    }
}

#[test]
fn it_is_shown_without_passwords() {
    for (url, shown) in [
        ("redis://a", "redis://a:6379"),
        ("rediss://mail:pw@a:1/2", "rediss://mail:***@a:1/2"),
        ("redis://:pw@[::1]", "redis://:***@[::1]:6379"),
        (
            "redis://:pw@a,redis://b",
            "redis://:***@a:6379,redis://:***@b:6379",
        ),
        (
            "redis+sentinel://:pw@a,b/s/2?sentinel_password=pw",
            "redis+sentinel://:***@a:26379,b:26379/s/2",
        ),
    ] {
        assert_eq!(parsed(url).to_string(), shown);
        assert_eq!(format!("{:?}", parsed(url)), format!("RedisUrl({shown})"));
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

proptest! {
    #[test]
    fn any_login_comes_back(user in "\\PC{0,12}", password in "\\PC{1,24}", host in "[a-z0-9.-]{1,20}", port in 1u16.., db: u32) {
        let text = format!("redis://{}:{}@{host}:{port}/{db}", encoded(&user), encoded(&password));
        let url = parsed(&text);
        prop_assert_eq!(&url.servers, &Servers::One(at(&host, port)));
        prop_assert_eq!(url.login.password.as_deref(), Some(password.as_str()));
        prop_assert_eq!(url.login.user.unwrap_or_default(), user);
        prop_assert_eq!(url.db, db);
    }

    #[test]
    fn no_password_is_shown(password in "secret[0-9]{8}", rest in "[a-z,/:@?=%#\\[\\]0-9]{0,30}", scheme in "rediss?(\\+sentinel)?") {
        let text = format!("{scheme}://mail:{password}@a/s{rest}");
        let shown = match text.parse::<RedisUrl>() {
            Ok(url) => format!("{url} {url:?} {:?} {:?}", url.login, url.servers),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains(&password), "{}", shown);
    }

    #[test]
    fn nothing_makes_it_panic(text in "(redis(s)?(\\+sentinel)?://)?\\PC{0,60}") {
        text.parse::<RedisUrl>().ok();
    }

    #[test]
    fn what_is_shown_can_be_read(text in "(redis(s)?(\\+sentinel)?://)[a-z:@/,\\[\\]0-9.]{0,30}") {
        if let Ok(url) = text.parse::<RedisUrl>() {
            let again = url.to_string().parse::<RedisUrl>();
            prop_assert_eq!(again.map(|again| again.to_string()), Ok(url.to_string()));
        }
    }
}
