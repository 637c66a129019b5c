mod call;
mod cancel;
mod digest;
mod failover;
mod mode;
mod register;
mod route;
mod world;
