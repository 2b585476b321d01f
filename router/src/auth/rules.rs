//! Who may do what: the one table. Pure.
//!
//! A row says for a class of routes and a method what each kind of caller is told. What has no row does not compile;
//! which route is of which class is said where routes are taken apart, in a match without a rest.

use http::Method;

/// What a caller is, to the server or to the database asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nobody in particular, and shut out.
    Anonymous,
    /// Nobody in particular, where everybody is let in: a public database, or `_users` with sign-up.
    Guest,
    /// Somebody, and no member.
    User,
    /// A member of the database; in `_users` whoever the document is about.
    Member,
    /// An admin of the database.
    DbAdmin,
    /// A server admin.
    ServerAdmin,
}

impl Level {
    /// All of them, in the order of a row.
    pub const ALL: [Level; 6] =
        [Level::Anonymous, Level::Guest, Level::User, Level::Member, Level::DbAdmin, Level::ServerAdmin];
}

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Whether this server lives. Credentials are not even looked at.
    Liveness,
    /// The welcome, sessions: for everybody, but wrong credentials are told so.
    Door,
    /// What concerns nobody's data: ids, and names that name nothing.
    Commons,
    /// The server or the cluster.
    Server,
    /// A database as a whole: asked about, made, removed, and (POST) written to.
    Database,
    /// What is in a database, read or written.
    Contents,
    /// A design document, an index: everybody's queries run by it.
    Design,
    /// Settings of a database.
    Settings,
    /// Work on a database that changes nothing that is read.
    Maintenance,
    /// What removes history for good, or says how much of that is remembered.
    Purging,
    /// A user's document in `_users`.
    UserDocument,
    /// Everything else in `_users`, and everything in `_replicator`.
    Users,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 12] = [
        Class::Liveness,
        Class::Door,
        Class::Commons,
        Class::Server,
        Class::Database,
        Class::Contents,
        Class::Design,
        Class::Settings,
        Class::Maintenance,
        Class::Purging,
        Class::UserDocument,
        Class::Users,
    ];

    /// Whether the answer depends on the caller's place in a database.
    pub fn is_in_database(self) -> bool {
        match self {
            Class::Liveness | Class::Door | Class::Commons | Class::Server => false,
            Class::Database | Class::Contents | Class::Design | Class::Settings | Class::Maintenance => true,
            Class::Purging | Class::UserDocument | Class::Users => true,
        }
    }
}

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Allow,
    /// 401: say who you are.
    Login,
    /// 401: only for server admins.
    NotServerAdmin,
    /// 401: only for those of the database.
    Stranger,
    /// 403: only for members.
    NotMember,
    /// 401: only for the database's admins; say who you are.
    Unnamed,
    /// 403: only for the database's admins.
    NotDbAdmin,
    /// 404: nothing is told, not even whether it is there.
    Missing,
}

/// What a caller of this kind is told who asks for this.
pub fn decide(class: Class, method: &Method, level: Level) -> Verdict {
    row(class, method)[level as usize]
}

/// One row: anonymous, guest, user, member, db admin, server admin.
fn row(class: Class, method: &Method) -> [Verdict; 6] {
    use Verdict::{Allow, Login, Missing, NotDbAdmin, NotMember, NotServerAdmin, Stranger, Unnamed};
    let open = [Allow; 6];
    let named = [Login, Login, Allow, Allow, Allow, Allow];
    let server = [NotServerAdmin, NotServerAdmin, NotServerAdmin, NotServerAdmin, NotServerAdmin, Allow];
    let members = [Stranger, Allow, NotMember, Allow, Allow, Allow];
    let db_admins = [Stranger, Unnamed, NotMember, NotDbAdmin, Allow, Allow];
    match (class, method.as_str()) {
        (Class::Liveness | Class::Door, _) => open,
        (Class::Commons, _) => named,
        (Class::Server, _) => server,
        (Class::Database, "PUT" | "DELETE") => server,
        (Class::Database, _) => members,
        (Class::Contents, _) => members,
        // COPY reads it; what it writes is asked about by itself.
        (Class::Design, "GET" | "HEAD" | "COPY") => members,
        (Class::Design, _) => db_admins,
        (Class::Settings, "GET" | "HEAD") => members,
        (Class::Settings, _) => db_admins,
        (Class::Maintenance, _) => db_admins,
        (Class::Purging, "GET" | "HEAD") => members,
        (Class::Purging, _) => server,
        (Class::UserDocument, "GET" | "HEAD" | "DELETE") => [Stranger, Stranger, Missing, Allow, Allow, Allow],
        (Class::UserDocument, "PUT") => [Stranger, Allow, Missing, Allow, Allow, Allow],
        (Class::UserDocument | Class::Users, _) => server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as people read it: class, methods, then a letter for each level.
    /// `.` allowed, `L` log in, `A` not a server admin, `S` stranger, `m` no member, `U` unnamed, `d` no database
    /// admin, `?` missing.
    const TABLE: &str = "\
Liveness      GET HEAD POST PUT DELETE COPY OPTIONS   ......
Door          GET HEAD POST PUT DELETE COPY OPTIONS   ......
Commons       GET HEAD POST PUT DELETE COPY OPTIONS   LL....
Server        GET HEAD POST PUT DELETE COPY OPTIONS   AAAAA.
Database      GET HEAD POST COPY OPTIONS              S.m...
Database      PUT DELETE                              AAAAA.
Contents      GET HEAD POST PUT DELETE COPY OPTIONS   S.m...
Design        GET HEAD COPY                           S.m...
Design        POST PUT DELETE OPTIONS                 SUmd..
Settings      GET HEAD                                S.m...
Settings      POST PUT DELETE COPY OPTIONS            SUmd..
Maintenance   GET HEAD POST PUT DELETE COPY OPTIONS   SUmd..
Purging       GET HEAD                                S.m...
Purging       POST PUT DELETE COPY OPTIONS            AAAAA.
UserDocument  GET HEAD DELETE                         SS?...
UserDocument  PUT                                     S.?...
UserDocument  POST COPY OPTIONS                       AAAAA.
Users         GET HEAD POST PUT DELETE COPY OPTIONS   AAAAA.
";
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "COPY", "OPTIONS"];

    fn letter(verdict: Verdict) -> char {
        match verdict {
            Verdict::Allow => '.',
            Verdict::Login => 'L',
            Verdict::NotServerAdmin => 'A',
            Verdict::Stranger => 'S',
            Verdict::NotMember => 'm',
            Verdict::Unnamed => 'U',
            Verdict::NotDbAdmin => 'd',
            Verdict::Missing => '?',
        }
    }

    #[test]
    fn every_row_says_what_it_should() {
        let mut seen = Vec::new();
        for line in TABLE.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (class, methods, letters) = (words[0], &words[1..words.len() - 1], words[words.len() - 1]);
            let class = Class::ALL.into_iter().find(|one| format!("{one:?}") == class).expect("a class");
            for method in methods {
                let method: Method = method.parse().expect("a method");
                let got: String = Level::ALL.map(|level| letter(decide(class, &method, level))).iter().collect();
                assert_eq!(got, letters, "{class:?} {method}");
                seen.push(format!("{class:?} {method}"));
            }
        }
        let all = Class::ALL.iter().flat_map(|class| METHODS.map(|method| format!("{class:?} {method}")));
        let missing: Vec<String> = all.filter(|one| !seen.contains(one)).collect();
        assert!(missing.is_empty(), "no row for {missing:?}");
    }

    #[test]
    fn a_server_admin_may_do_everything_and_nobody_in_particular_least() {
        for class in Class::ALL {
            for method in METHODS {
                let method: Method = method.parse().expect("a method");
                assert_eq!(decide(class, &method, Level::ServerAdmin), Verdict::Allow, "{class:?} {method}");
                if decide(class, &method, Level::Anonymous) == Verdict::Allow {
                    assert!(matches!(class, Class::Liveness | Class::Door), "{class:?} {method} is open");
                }
            }
        }
    }
}
