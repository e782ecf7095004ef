// Package conf reads and keeps the configuration values that all modules share, so that one
// thing is spelled, checked and refused in one way everywhere.
//
// A module lists the settings of its Caddyfile block with where each goes:
//
//	return conf.Block(d,
//		conf.Word("mode", &m.Mode, "fast", "safe"),
//		conf.Value("timeout", &m.Timeout),      // a Duration
//		conf.Value("password", &m.Password),    // a Secret
//		conf.Count("concurrency", &m.Concurrency),
//		conf.Func("header", m.unmarshalHeader), // anything else
//	)
//
// A setting that is given twice, an unknown one and a wrong number of values are errors that
// name file, line and remedy.
package conf
