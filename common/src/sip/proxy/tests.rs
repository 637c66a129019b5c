mod call;
mod register;
mod world;
