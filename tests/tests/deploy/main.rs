//! What is shipped beside the programs, checked by the tools that people use it with: the template is deployed for real,
//! the package and the image's files are run, unit and role are read by systemd's and Ansible's own checkers.

mod ansible;
mod image;
mod links;
mod package;
mod rights;
mod stack;
mod template;
mod tools;
mod unit;
