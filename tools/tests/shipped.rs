//! The shipped networks know in integers what they know in float.

use std::path::Path;

use condconv_tools::convert::{Model, read_labels, read_samples};
use condconv_tools::onnx;
use condconv_tools::quantize::{Int16, Options};
use condconv_tools::verify::verify;

#[allow(dead_code, reason = "other tests report more")]
#[path = "shared/rounded.rs"]
mod rounded;
#[path = "shared/shipped.rs"]
mod shipped;

use rounded::quality;

/// The float accuracy below which a task's CondConv network would not be worth shipping.
const FLOORS: [(&str, f64); 4] = [("digits", 0.96), ("resnet8", 0.98), ("watch", 0.82), ("watch_acc", 0.82)];

#[test]
fn integers_know_what_floats_know() {
    let (mut lost, mut agreed) = (0.0, 0.0);
    for (name, data) in shipped::NETWORKS {
        let model = Model::load(
            &shipped::file(name, "onnx"),
            &shipped::file(data, "calibrate.npy"),
            &Options::default(),
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let samples = read_samples(&shipped::file(data, "test.npy"), &model.import).unwrap();
        let labels = read_labels(&shipped::file(data, "labels.npy"), samples.len(), &model).unwrap();
        let samples: Vec<&[f32]> = samples.iter().collect();
        let result = verify(&model, &samples, Some(&labels)).unwrap().output;
        let (float, int8) = (result.accuracy_float.unwrap(), result.accuracy_int8.unwrap());
        let agreement = result.top1_agreement.unwrap();
        if let Some((_, floor)) = FLOORS.iter().find(|(task, _)| *task == name) {
            assert!(float >= *floor, "{name}: {float}");
        }
        assert!(float - int8 <= 0.007, "{name}: {float} and {int8}");
        assert!(agreement >= 0.985, "{name}: {agreement}");
        assert!(result.sqnr_db >= 30.0, "{name}: {}", result.sqnr_db);
        // What integers cost beside floats rounded like them, biases included.
        let quality = quality(&model, &samples[..64]);
        assert!(quality.integer >= quality.corrected - 1.0, "{name}: {quality:?}");
        let clear = agreement_where_clear(&model, &samples);
        assert!(clear >= 0.995, "{name}: {clear}");
        lost += float - int8;
        agreed += agreement;
    }
    let count = shipped::NETWORKS.len() as f64;
    assert!(lost / count <= 0.002, "{}", lost / count);
    assert!(agreed / count >= 0.99, "{}", agreed / count);
}

/// Agreement on the inputs for which the float network's two best scores are further apart than two steps of an int8
/// output. The output is int16 and reaches four times as far as calibration saw, which int8 would just cover.
fn agreement_where_clear(model: &Model, samples: &[&[f32]]) -> f64 {
    let output = &model.plan.network.tensors[model.plan.network.output];
    let step = output.scale * 32767.0 / 4.0 / 127.0;
    let (mut clear, mut agreed) = (0, 0);
    for (sample, integers) in samples.iter().zip(model.scores(samples)) {
        let floats = model.reference.run(sample, &[&output.onnx_name]).unwrap().remove(0);
        let mut order: Vec<usize> = (0..floats.len()).collect();
        order.sort_by(|&a, &b| floats[b].total_cmp(&floats[a]));
        if f64::from(floats[order[0]] - floats[order[1]]) > 2.0 * step {
            clear += 1;
            agreed += usize::from(integers.iter().all(|&score| score <= integers[order[0]]));
        }
    }
    assert!(2 * clear > samples.len(), "{clear}");
    agreed as f64 / clear as f64
}

/// On inputs that it has not seen; calibrated on few, so that it could be misled.
#[test]
fn automatic_int16_costs_no_precision() {
    for (name, data) in shipped::NETWORKS {
        let onnx = shipped::file(name, "onnx");
        let read =
            |kind: &str| read_samples(&shipped::file(data, kind), &onnx::load(&onnx).unwrap()).unwrap();
        let (calibrate, test) = (read("calibrate.npy"), read("test.npy"));
        let [calibrate, test] = [(&calibrate, 32), (&test, 256)]
            .map(|(samples, count)| samples.iter().take(count).collect::<Vec<_>>());
        let sqnr = |int16: Int16| {
            let options = Options { int16, ..Options::default() };
            let import = onnx::load(&onnx).unwrap();
            let model = Model::new(&onnx, Path::new(""), import, &calibrate, &options).unwrap();
            verify(&model, &test, None).unwrap().output.sqnr_db
        };
        let (before, after) = (sqnr(Int16::None), sqnr(Int16::Auto));
        assert!(after >= before - 0.5, "{name}: {before} to {after} dB");
    }
}
