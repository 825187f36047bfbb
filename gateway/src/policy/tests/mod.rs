use super::*;
#[test]
fn shipped() {
    match PolicySet::load(Path::new("policies"), &["projects"]) {
        Ok(l) => {
            for w in &l.warnings {
                println!("{}", w.report());
            }
            println!("{}", report::print_tests(&l.set.run_tests()));
        }
        Err(f) => {
            for w in &f {
                println!("{}", w.report());
            }
            panic!()
        }
    }
}
