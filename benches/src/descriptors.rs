//! How many descriptors a process may have open.

use std::io;
use std::process::Command;

/// A command that runs this very program anew with as many descriptors as the system's hard limit
/// allows. Where these are fewer than `needed`, it fails and says so.
///
/// # Errors
///
/// The path of this program is unknown.
pub fn command(needed: usize) -> io::Result<Command> {
    let script = format!(
        r#"
        ulimit -S -n "$(ulimit -H -n)"
        have=$(ulimit -S -n)
        if [ "$have" != unlimited ] && [ "$have" -lt {needed} ]; then
            echo "needs {needed} descriptors, the limit is $have (ulimit -H -n)" >&2
            exit 1
        fi
        exec "$0" "$@"
        "#
    );
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(std::env::current_exe()?);
    Ok(command)
}
