//! Filling a program's settings: flags before environment, before the file, before defaults.
//!
//! A program describes its settings once, as a clap struct. Here each of them also becomes an
//! environment variable (`DFS_MINION_DISK_THREADS` for `--disk-threads` of `dfs-minion`) and a key
//! of the file named by `--config` (`disk-threads = 8`). What the file says is handed to clap as
//! the default of that flag, which gives the order of precedence.

use super::file::{self, Setting};
use clap::{Arg, Command, FromArgMatches, Parser, error::ErrorKind};
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

/// Why settings could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line or the environment is wrong, or asks for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// No such file, or not ours to read.
    #[error("cannot read the settings in {}: {source}; name another file with --config", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML.
    #[error("{} is no valid TOML:\n{source}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key has a table or a list of lists for its value.
    #[error("{}: {key} must have a plain value or a list of plain values; settings have no sections", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A key that the program does not know.
    #[error("{}: there is no setting {key:?}; {nearest}", .path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What could have been meant.
        nearest: String,
    },
    /// A value that the program cannot use.
    #[error("{}: {source}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which and why.
        source: clap::Error,
    },
}

impl SettingsError {
    /// Says it on the terminal and ends the process: 0 after help and version, else 2.
    pub fn exit(&self) -> ! {
        match self {
            SettingsError::CommandLine(error) => error.exit(),
            other => {
                eprintln!("error: {}", other.to_string().trim_end());
                std::process::exit(2)
            }
        }
    }
}

/// The settings of this process; says what is wrong with them and exits, if they are.
pub fn load<T: Parser>() -> T {
    try_load(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// The settings that this command line, the environment and the file give.
pub fn try_load<T: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<T, SettingsError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = with_variables(T::command());
    let Some(path) = config_of(&command, &args) else {
        return parse(command, &args).map_err(SettingsError::CommandLine);
    };
    let text = file::read(&path)?;
    filled(command, &args, path, &text)
}

/// The settings that this command line, the environment and a file at `path` with this text give;
/// a file that the command line names is not read.
pub fn try_load_text<T: Parser>(
    args: impl IntoIterator<Item = OsString>,
    path: &Path,
    text: &str,
) -> Result<T, SettingsError> {
    let args: Vec<OsString> = args.into_iter().collect();
    filled(with_variables(T::command()), &args, path.to_owned(), text)
}

fn filled<T: Parser>(
    command: Command,
    args: &[OsString],
    path: PathBuf,
    text: &str,
) -> Result<T, SettingsError> {
    let settings = file::parse(&path, text)?;
    let filled = with_file(command.clone(), &path, settings)?;
    parse(filled, args).map_err(|source| {
        let told = matches!(
            source.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        );
        // Without the file only a value of the file can have been wrong.
        let alone = parse::<T>(command, args).err();
        let missing = Some(ErrorKind::MissingRequiredArgument);
        let by_file =
            alone.is_none_or(|e| Some(e.kind()) == missing && Some(source.kind()) != missing);
        match by_file && !told {
            true => SettingsError::Value { path, source },
            false => SettingsError::CommandLine(source),
        }
    })
}

fn parse<T: FromArgMatches>(command: Command, args: &[OsString]) -> Result<T, clap::Error> {
    let mut usage = command.clone();
    let matches = command.try_get_matches_from(args)?;
    T::from_arg_matches(&matches).map_err(|error| error.format(&mut usage))
}

/// Gives each setting its environment variable, and adds `--config`.
fn with_variables(command: Command) -> Command {
    let program = command.get_name().trim_start_matches("dfs-").to_owned();
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("TOML file with settings; its keys are the names of the flags");
    command.arg(config).mut_args(|arg| {
        if arg.get_env().is_some() {
            return arg;
        }
        let name = format!("DFS_{program}_{}", arg.get_id());
        arg.env(kept(name.to_uppercase().replace('-', "_")))
    })
}

/// The file that the command line or the environment names.
fn config_of(command: &Command, args: &[OsString]) -> Option<PathBuf> {
    let flags = args.iter().take_while(|arg| *arg != "--");
    let mut after = false;
    let mut named = None;
    for arg in flags {
        if after {
            named = Some(PathBuf::from(arg));
        } else if let Some(value) = arg.to_str().and_then(|a| a.strip_prefix("--config=")) {
            named = Some(PathBuf::from(value));
        }
        after = !after && arg == "--config";
    }
    let config = command.get_arguments().find(|arg| arg.get_id() == "config");
    let variable = config.and_then(Arg::get_env).and_then(std::env::var_os);
    named.or_else(|| variable.map(PathBuf::from))
}

/// Makes what the file says the defaults of the command line.
fn with_file(
    mut command: Command,
    path: &Path,
    settings: Vec<Setting>,
) -> Result<Command, SettingsError> {
    for Setting { key, values } in settings {
        let known = command
            .get_arguments()
            .find(|arg| key_of(arg) == key && arg.get_id() != "config");
        let Some(id) = known.map(|arg| arg.get_id().to_string()) else {
            return Err(SettingsError::Unknown {
                path: path.to_owned(),
                nearest: nearest(&command, &key),
                key,
            });
        };
        let values: Vec<&'static str> = values.into_iter().map(kept).collect();
        command = command.mut_arg(id, |arg| arg.required(false).default_values(values));
    }
    Ok(command)
}

/// The key of a setting in the file: its long flag, or its name if it has none.
fn key_of(arg: &Arg) -> String {
    match arg.get_long() {
        Some(long) => long.to_owned(),
        None => arg.get_id().as_str().replace('_', "-"),
    }
}

fn nearest(command: &Command, key: &str) -> String {
    let keys = command
        .get_arguments()
        .map(key_of)
        .filter(|k| k != "config");
    let near = keys.min_by_key(|known| strsim::damerau_levenshtein(known, key));
    match near {
        Some(near) if strsim::damerau_levenshtein(&near, key) <= key.len().max(3) / 2 => {
            format!("did you mean {near:?}?")
        }
        _ => "--help lists them".to_owned(),
    }
}

/// Text for as long as the process lives: settings are loaded once, and clap wants it so.
fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::fs;

    #[derive(Parser, Debug, PartialEq)]
    #[command(name = "dfs-thing", version)]
    struct Thing {
        /// Where
        #[arg(long, value_delimiter = ',')]
        data: Vec<PathBuf>,
        /// Who
        #[arg(long)]
        master: String,
        /// How many
        #[arg(long, default_value_t = 3)]
        copies_min: u32,
        /// Whether
        #[arg(long)]
        verbose: bool,
        /// A variable that every test process has
        #[arg(long, env = "CARGO_PKG_NAME", default_value = "default")]
        named: String,
    }

    fn thing(args: &str, file: Option<&str>) -> Result<Thing, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("thing.toml");
        let mut line: Vec<OsString> = ["dfs-thing"].map(OsString::from).to_vec();
        line.extend(args.split_whitespace().map(OsString::from));
        if let Some(text) = file {
            fs::write(&path, text).expect("writes");
            line.extend(["--config".into(), path.into_os_string()]);
        }
        try_load(line).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_defaults() {
        let file = "data = ['/a', '/b']\nmaster = 'm:1'\ncopies-min = 5\nverbose = true\n";
        let all = thing("", Some(file)).expect("loads");
        assert_eq!(all.data, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(
            (all.master.as_str(), all.copies_min, all.verbose),
            ("m:1", 5, true)
        );
        let flags = thing("--master n:2 --data /c,/d", Some(file)).expect("loads");
        assert_eq!((flags.master.as_str(), flags.copies_min), ("n:2", 5));
        assert_eq!(flags.data, [PathBuf::from("/c"), PathBuf::from("/d")]);
        let defaults = thing("--master n:2", Some("")).expect("an empty file is fine");
        assert_eq!((defaults.copies_min, defaults.verbose), (3, false));
    }

    #[test]
    fn the_environment_comes_before_the_file() {
        let named = std::env::var("CARGO_PKG_NAME").expect("cargo sets it");
        let both = thing("--master m", Some("named = 'file'")).expect("loads");
        assert_eq!(both.named, named);
        let flag = thing("--master m --named flag", Some("named = 'file'")).expect("loads");
        assert_eq!(flag.named, "flag");
    }

    #[test]
    fn every_setting_has_a_variable() {
        let command = with_variables(Thing::command());
        let copies = command
            .get_arguments()
            .find(|arg| arg.get_id() == "copies_min");
        let variable = copies.and_then(Arg::get_env).expect("has one");
        assert_eq!(variable, "DFS_THING_COPIES_MIN");
    }

    #[test]
    fn underscores_are_dashes() {
        let thing = thing("--master m", Some("copies_min = 4")).expect("loads");
        assert_eq!(thing.copies_min, 4);
    }

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        for (file, says) in [
            ("mastre = 'x'", "did you mean \"master\"?"),
            ("zzzzzzzzzzz = 1", "--help lists them"),
            (
                "copies-min = 'many'",
                "invalid value 'many' for '--copies-min",
            ),
            ("master = \n", "no valid TOML"),
            ("[master]\nhost = 'x'", "no sections"),
            ("config = 'other.toml'", "no setting \"config\""),
        ] {
            let error = thing("--master m", Some(file)).expect_err(file);
            assert!(
                error.contains("thing.toml") && error.contains(says),
                "{file}: {error}"
            );
        }
        let absent = thing("--config /nowhere/thing.toml", None).expect_err("absent");
        assert!(absent.contains("/nowhere/thing.toml") && absent.contains("--config"));
    }

    #[test]
    fn a_wrong_flag_is_not_the_fault_of_the_file() {
        for (args, says) in [
            ("--copies-min many --master m", "invalid value"),
            ("--oops --master m", "unexpected argument"),
            ("", "required"),
        ] {
            let error = thing(args, Some("verbose = true")).expect_err(args);
            assert!(
                error.contains(says) && !error.contains("thing.toml:"),
                "{error}"
            );
        }
    }
}
