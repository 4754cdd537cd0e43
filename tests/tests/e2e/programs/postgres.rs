//! PostgreSQL with its data on a mount: what it has acknowledged is there after it was killed, and after
//! the mount was.

use dfs_tests::{
    cluster::{Cluster, is_root},
    kernel, long, shell, wait,
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long PostgreSQL may take to start, what it has to make good included.
const START: Duration = Duration::from_secs(120);

/// How long it may take until a few hundred rows were inserted.
const LOAD: Duration = Duration::from_secs(120);

/// Rows that are inserted before it is killed, at the least.
const ROWS: u64 = 300;

/// One PostgreSQL. Its sockets and what clients note are outside of the mount.
struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    outside: PathBuf,
    /// Its first process, while it runs.
    process: Cell<Option<u32>>,
}

impl Postgres {
    /// The newest that is installed, if one is.
    fn installed(data: &Path, outside: &Path) -> Option<Postgres> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let programs = versions.flatten().map(|version| version.path().join("bin"));
        let programs = programs
            .filter(|bin| bin.join("pg_checksums").exists())
            .max()?;
        Some(Postgres {
            programs,
            data: data.to_owned(),
            outside: outside.to_owned(),
            process: Cell::new(None),
        })
    }

    /// A command line of one of its programs, as its own user: it refuses to run as root.
    fn line(&self, program: &str, arguments: &str) -> String {
        let program = self.programs.join(program);
        let outside = self.outside.display();
        format!(
            "cd {outside}; PGHOST={outside} PGUSER=postgres runuser -u postgres -- {} {arguments}",
            program.display()
        )
    }

    fn run(&self, program: &str, arguments: &str) -> String {
        shell::ok(&self.line(program, arguments))
    }

    /// What a query answers, values with | between them.
    fn ask(&self, query: &str) -> String {
        let answer = self.run("psql", &format!("-XAtq -d postgres -c \"{query}\""));
        answer.trim().to_owned()
    }

    fn create(&self) {
        for folder in [&self.data, &self.outside] {
            fs::create_dir(folder).expect("made");
            shell::ok(&format!("chown postgres: {}", folder.display()));
        }
        let (data, outside) = (self.data.display(), self.outside.display());
        self.run("initdb", &format!("--data-checksums -A trust -D {data}"));
        shell::ok(&format!(
            "cat >> {data}/postgresql.conf <<'END'
listen_addresses = ''
unix_socket_directories = '{outside}'
shared_buffers = 32MB
checkpoint_timeout = 30s
END"
        ));
    }

    /// Starts it, as soon as those whom it left behind have noticed that it is gone.
    fn start(&self) {
        let (data, log) = (self.data.display(), self.outside.join("log"));
        let arguments = format!("-w -t 100 -D {data} -l {} start", log.display());
        let line = self.line("pg_ctl", &arguments);
        wait::until(START, "PostgreSQL to start", || {
            shell::run(&line).status.success()
        });
        let noted = fs::read_to_string(self.data.join("postmaster.pid")).expect("it runs");
        let process = noted.lines().next().and_then(|line| line.parse().ok());
        self.process.set(process);
    }

    /// kill -9 of its first process, whose number it had noted on the mount.
    fn kill(&self) {
        let process = self.process.take().expect("it runs");
        kernel::signal(process, libc::SIGKILL).expect("it runs");
    }

    /// kill -9 of all its processes. The others end without the first; but one that is told by a
    /// mount that is gone that its log is not written leaves locks behind in their memory, for which
    /// the rest wait for ever.
    fn kill_all(&self) {
        let process = self.process.get().expect("it runs");
        let children = format!("/proc/{process}/task/{process}/children");
        let children = fs::read_to_string(children).expect("it runs");
        self.kill();
        for child in children.split_whitespace() {
            // It may have ended by itself.
            let _ = kernel::signal(child.parse().expect("a number"), libc::SIGKILL);
        }
    }

    fn load(&self, round: u32) -> [shell::Running; 2] {
        let script = self.outside.join("insert.sql");
        let insert = "\\set n :n + 1\ninsert into rows values (:round, :client_id, :n);\n";
        fs::write(&script, insert).expect("the local file system works");
        let noted = self.outside.join(format!("round-{round}"));
        let (script, noted) = (script.display(), noted.display());
        let inserts = format!(
            "-n -c 4 -j 2 -T 600 -D round={round} -D n=0 -f {script} -l --log-prefix={noted} postgres"
        );
        let transfers = "-n -c 2 -T 600 postgres";
        [&inserts[..], transfers].map(|line| shell::start(&self.line("pgbench", line)))
    }

    /// What was acknowledged to the clients of a round, as `round,client,number`.
    fn acknowledged(&self, round: u32) -> String {
        let mut rows = String::new();
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        for entry in fs::read_dir(&self.outside).expect("listed").flatten() {
            let name = entry.file_name().into_string().expect("ours");
            if !name.starts_with(&format!("round-{round}.")) {
                continue;
            }
            let text = fs::read_to_string(entry.path()).expect("reads");
            // One line for each transaction that was acknowledged, in their order; the client is the
            // first word.
            for client in text.lines().filter_map(|line| line.split(' ').next()) {
                let number = numbers.entry(client.to_owned()).or_default();
                *number += 1;
                let _ = writeln!(rows, "{round},{client},{number}");
            }
        }
        rows
    }

    /// Fails when something that was acknowledged is not there, or sums are not what they must be.
    fn judge(&self, rounds: u32) {
        let rows: String = (1..=rounds).map(|round| self.acknowledged(round)).collect();
        let noted = self.outside.join("acknowledged");
        fs::write(&noted, &rows).expect("the local file system works");
        let many = rows.lines().count();
        println!("{many} rows were acknowledged in {rounds} rounds");
        assert!(
            many as u64 >= ROWS * u64::from(rounds),
            "{many} acknowledged"
        );
        let script = self.outside.join("judge.sql");
        let told = format!(
            "create temp table acknowledged (like rows);
             \\copy acknowledged from '{}' with (format csv)
             select 'missing', * from acknowledged except select 'missing', * from rows;
             select 'twice', round, client, n from rows group by round, client, n having count(*) > 1;\n",
            noted.display()
        );
        fs::write(&script, told).expect("the local file system works");
        let said = self.run(
            "psql",
            &format!("-XAtq -d postgres -f {}", script.display()),
        );
        let lines: Vec<&str> = said.lines().take(5).collect();
        assert!(said.is_empty(), "{} rows: {lines:?}", said.lines().count());
        let sums = "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from
            pgbench_tellers), (select sum(bbalance) from pgbench_branches), (select
            coalesce(sum(delta), 0) from pgbench_history)";
        let sums = self.ask(sums);
        let all: Vec<&str> = sums.split('|').collect();
        assert!(all.iter().all(|sum| sum == &all[0]), "sums differ: {sums}");
    }

    fn stop(&self) {
        self.process.take();
        self.run(
            "pg_ctl",
            &format!("-w -m fast -D {} stop", self.data.display()),
        );
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = kernel::signal(process, libc::SIGKILL);
        }
    }
}

#[test]
fn postgres_loses_nothing_that_it_acknowledged() {
    if !long() || !is_root() {
        eprintln!(
            "left out: scripts/test --long runs it, as root, because PostgreSQL has a user of its own"
        );
        return;
    }
    let mut cluster = Cluster::start();
    let (data, outside) = (
        cluster.path().join("data"),
        cluster.folder().join("postgres"),
    );
    let postgres = Postgres::installed(&data, &outside);
    let Some(postgres) = postgres else {
        eprintln!("left out: PostgreSQL is not installed");
        return;
    };
    postgres.create();
    postgres.start();
    postgres.run("pgbench", "-q -i -s 2 postgres");
    postgres.ask("create table rows (round int, client int, n bigint)");
    // In the last round the mount is killed, too, with all that it had not sent.
    for round in 1..=4 {
        let load = postgres.load(round);
        wait::until(LOAD, "rows", || {
            let rows = postgres.ask(&format!("select count(*) from rows where round = {round}"));
            rows.parse::<u64>().expect("a number") >= ROWS * 2
        });
        if round == 4 {
            cluster.mounts[0].kill();
            postgres.kill_all();
        } else {
            postgres.kill();
        }
        for clients in load {
            let ended = clients.end(LOAD);
            assert!(!ended.status.success(), "it was killed under them");
        }
        if round == 4 {
            cluster.mounts[0].start();
        }
        postgres.start();
        postgres.judge(round);
    }
    postgres.stop();
    let said = postgres.run("pg_checksums", &format!("--check -D {}", data.display()));
    assert!(said.contains("Bad checksums:  0"), "{said}");
    drop(postgres);
    cluster.end();
}
