//! Tests of the command: arguments, files in, figures out.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct FitCli {
    #[command(flatten)]
    fit: FitArgs,
}

fn args(rest: &[&str]) -> FitArgs {
    let all = ["fit"].iter().chain(rest);
    FitCli::try_parse_from(all)
        .unwrap_or_else(|e| panic!("{e}"))
        .fit
}

#[test]
fn families_and_spikes_are_parsed() {
    assert_eq!(parse_family("levels:16"), Ok(Family::Levels(16)));
    assert_eq!(parse_family("ternary"), Ok(Family::Levels(3)));
    assert!(parse_family("levels:1").is_err());
    assert_eq!(
        parse_spikes("probit:0.5"),
        Ok(SpikeFunction::Probit { noise: 0.5 })
    );
    assert!(parse_spikes("probit:-1").is_err());
}

#[test]
fn a_table_is_learned_and_saved_and_loads_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (csv, model) = (dir.path().join("t.csv"), dir.path().join("m"));
    let mut text = String::from("x,y\n");
    for i in 0..200 {
        let x = f64::from(i) / 100.0 - 1.0;
        text += &format!("{x},{}\n", (3.0 * x).sin());
    }
    std::fs::write(&csv, text).unwrap();
    let args = args(&[
        "--task",
        "regression",
        "--target",
        "y",
        "--data",
        csv.to_str().unwrap(),
        "--passes",
        "5",
        "--save",
        model.to_str().unwrap(),
    ]);
    let data = FitData::load(&args, None).unwrap();
    assert_eq!(data.train.0.len(), 180);
    run(args).unwrap();
    let bytes = std::fs::read(&model).unwrap();
    assert_eq!(bytes[..8], MAGIC);
    let learned: Model = postcard::from_bytes(&bytes[12..]).unwrap();
    assert_eq!(postcard::to_allocvec(&learned).unwrap(), bytes[12..]);
    assert_eq!(load(&model).unwrap(), learned);
    let mut damaged = bytes;
    damaged[40] ^= 1;
    std::fs::write(&model, damaged).unwrap();
    assert_eq!(load(&model).unwrap_err().exit_code(), 64);
}

#[test]
fn bad_arguments_are_refused_with_the_code_of_a_bad_configuration() {
    let missing = args(&[
        "--task",
        "regression",
        "--target",
        "y",
        "--data",
        "/no/such/file",
    ]);
    assert_eq!(run(missing).unwrap_err().exit_code(), 1);
    let nothing = args(&["--task", "regression", "--target", "y"]);
    assert_eq!(run(nothing).unwrap_err().exit_code(), 64);
}

#[test]
fn a_saved_model_predicts_without_learning_and_goes_out_as_c_and_nir() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut text = String::from("\"a, b\",x,kind\n");
    for i in 0..120 {
        let kind = i % 3;
        text += &format!(
            "{},{},{}\n",
            kind * 2 + i % 2,
            f64::from(i) / 50.0,
            10 + kind
        );
    }
    std::fs::write(path("t.csv"), text).unwrap();
    let (csv, model) = (path("t.csv"), path("m"));
    let base = ["--task", "classification", "--target", "kind"];
    let learn = [
        "--train", &csv, "--test", &csv, "--passes", "3", "--save", &model,
    ];
    let (first, c, nir) = (path("first.csv"), path("c"), path("graph.nir"));
    let more = ["--predict", &first, "--export-c", &c, "--export-nir", &nir];
    run(args(&[&base[..], &learn, &more].concat())).unwrap();
    let second = path("second.csv");
    let apply = ["--test", &csv, "--load", &model, "--predict", &second];
    run(args(&[&base[..], &apply].concat())).unwrap();
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&first), read(&second));
    let mut lines = read(&first).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines.remove(0), "\"a, b\",x,kind,class,p_10,p_11,p_12");
    let right = lines.iter().filter(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        cells[2] == cells[3]
    });
    assert!(right.count() > 100);
    assert!(read(&path("c/spiked_model.h")).contains("#define SPIKED_OUTPUTS 3"));
    assert!(read(&path("c/spiked_infer.c")).contains("spiked_infer"));
    assert!(std::fs::read(&nir).unwrap().starts_with(b"\x89HDF\r\n"));
}
