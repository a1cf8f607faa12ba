//! The float reference gives the same numbers on any number of threads.

use std::path::Path;

use condconv_tools::onnx::load;
use condconv_tools::reference::{Reference, ReferenceError};

fn reference() -> Reference {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits.onnx");
    Reference::new(&load(&path).unwrap())
}

#[test]
fn parallel_runs_are_equal_to_the_bit() {
    let reference = reference();
    let inputs: Vec<Vec<f32>> = (0..64u16)
        .map(|seed| (0..784u16).map(|i| f32::from(seed.wrapping_mul(i) % 97) / 97.0).collect())
        .collect();
    let run = |input: &Vec<f32>| reference.run(input, &["logits", "input", "logits"]).unwrap();
    let one_by_one: Vec<_> = inputs.iter().map(run).collect();
    let parallel: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = inputs
            .chunks(16)
            .map(|part| scope.spawn(move || part.iter().map(run).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(one_by_one, parallel);
    assert_eq!(one_by_one[3][0], one_by_one[3][2]);
    assert_eq!(one_by_one[3][1], inputs[3]);
}

#[test]
fn wrong_requests_are_errors() {
    let reference = reference();
    let short = reference.run(&[0.0; 783], &["logits"]);
    assert_eq!(short, Err(ReferenceError::Input { expected: 784, found: 783 }));
    assert!(matches!(reference.run(&[0.0; 784], &["nothing"]), Err(ReferenceError::Evaluation(_))));
}
