//! `briefd man`: manual pages, made of the same help texts.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_mangen::Man;

/// Write the manual pages: briefd(1) and one for each command
///
/// Into a folder, which is made if need be; with - the page of briefd itself goes to standard output.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  briefd man ~/.local/share/man/man1 && man briefd-status
  briefd man - | man -l -")]
pub struct ManArgs {
    /// The folder, or - for standard output
    #[arg(value_name = "DIR|-")]
    to: PathBuf,
}

/// Writes the pages of `program`.
pub fn run(args: &ManArgs, program: Command, out: &mut impl Write) -> anyhow::Result<()> {
    if args.to == Path::new("-") {
        return Ok(page(program).render(out)?);
    }
    fs::create_dir_all(&args.to).with_context(|| format!("cannot make the folder {}", args.to.display()))?;
    let mut program = program.disable_help_subcommand(true);
    // Each part then knows its whole name, and the options that go with every command.
    program.build();
    let mut written = 0;
    write_pages(program, &args.to, &mut written)?;
    writeln!(out, "{written} pages in {}: man briefd", args.to.display())?;
    Ok(())
}

fn page(command: Command) -> Man {
    Man::new(command).source(concat!("briefd ", env!("CARGO_PKG_VERSION"))).manual("briefd")
}

fn write_pages(command: Command, folder: &Path, written: &mut u32) -> anyhow::Result<()> {
    for part in command.get_subcommands().filter(|part| !part.is_hide_set()) {
        write_pages(part.clone(), folder, written)?;
    }
    let path = folder.display();
    page(command).generate_to(folder).with_context(|| format!("cannot write the pages into {path}"))?;
    *written += 1;
    Ok(())
}
