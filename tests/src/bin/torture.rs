//! Sends the torture messages of RFC 4475 and RFC 5118 to a service of its own and prints what came back.

use std::process::ExitCode;

use cusax_tests::lab::{Result, torture};

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("{wrong} outcomes are not as expected");
            ExitCode::FAILURE
        }
        Err(fault) => {
            eprintln!("torture: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize> {
    let Some(folder) = torture::folder()? else {
        return Ok(0);
    };
    let program = std::env::current_exe()?.with_file_name("cusax");
    let table = torture::table(&program, &folder)?;
    print!("{table}");
    Ok(table.wrong())
}
