//! The folder that baresip reads.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Answer, CONTROL_ADDRESS, CONTROL_PORT, Network, Plan};

pub(super) fn write(dir: &Path, plan: &Plan) -> Result<()> {
    fs::create_dir_all(dir.join("rec"))?;
    fs::write(dir.join("config"), config(dir, plan))?;
    fs::write(dir.join("accounts"), account(plan))?;
    fs::write(dir.join("contacts"), "")?;
    fs::write(dir.join("uuid"), instance(plan))?;
    Ok(())
}

fn config(dir: &Path, plan: &Plan) -> String {
    let (address, tone, calls) = (plan.address, plan.tone, plan.calls_max);
    let mut lines = vec![
        "poll_method epoll".to_owned(),
        format!("sip_listen {}", SocketAddr::new(address, 5060)),
        format!("sip_cafile {}", plan.authorities.display()),
        "sip_transports udp,tcp,tls".to_owned(),
        format!("call_max_calls {calls}"),
        "call_local_timeout 120".to_owned(),
        // A sine wave speaks; nobody listens, but for the recorder.
        format!("audio_source ausine,{tone}"),
        "audio_player aubridge,ear".to_owned(),
        "audio_alert aubridge,bell".to_owned(),
        "ausrc_srate 48000".to_owned(),
        "auplay_srate 48000".to_owned(),
        "ausrc_channels 2".to_owned(),
        "auplay_channels 1".to_owned(),
        "audio_level no".to_owned(),
        "audio_buffer 20-160".to_owned(),
        "audio_path /usr/share/baresip".to_owned(),
        "rtp_ports 20000-20999".to_owned(),
        "rtcp_mux no".to_owned(),
        "rtp_stats yes".to_owned(),
        "jitter_buffer_delay 3-10".to_owned(),
        format!("net_interface {address}"),
        // Nobody answers there: every address is given.
        "dns_server 127.0.0.1:1".to_owned(),
        format!("ctrl_tcp_listen {CONTROL_ADDRESS}:{CONTROL_PORT}"),
        format!("snd_path {}", dir.join("rec").display()),
        "module_path /usr/lib/baresip/modules".to_owned(),
    ];
    if plan.has_video {
        let video = [
            "video_source fakevideo,nil",
            "video_display fakevideo,nil",
            "video_size 352x288",
        ];
        lines.extend(video.map(str::to_owned));
        lines.extend(["video_bitrate 400000", "video_fps 10"].map(str::to_owned));
    }
    lines.extend(modules(plan).map(|module| format!("module {module}.so")));
    lines.extend(["uuid", "account"].map(|module| format!("module_tmp {module}.so")));
    lines.extend(["contact", "menu", "debug_cmd"].map(|module| format!("module_app {module}.so")));
    lines.push(String::new());
    lines.join("\n")
}

fn modules(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let video: &[_] = if plan.has_video {
        &["fakevideo", "vp8"]
    } else {
        &[]
    };
    [
        "ctrl_tcp", "g711", "g722", "ausine", "aufile", "aubridge", "sndfile", "stun", "srtp",
        "ice",
    ]
    .iter()
    .chain(video)
    .copied()
}

fn account(plan: &Plan) -> String {
    let (aor, user, password, proxy) = (plan.aor(), &plan.user, &plan.password, plan.proxy);
    let registration = plan.registration;
    let answer = match plan.answer {
        Answer::Auto => "auto",
        Answer::Manual => "manual",
        Answer::Early => "early",
    };
    let network = match plan.network {
        Network::Outside => {
            format!("outbound=\"sip:{proxy};transport=tls\";sipnat=outbound")
        }
        Network::Inside => format!("outbound=\"sip:{proxy};transport=udp\""),
    };
    let seal = if plan.is_sealed {
        ";mediaenc=srtp-mand"
    } else {
        ""
    };
    let ice = if plan.has_ice { ";medianat=ice" } else { "" };
    let video = if plan.has_video {
        ";video_codecs=VP8"
    } else {
        ""
    };
    format!(
        "<{aor}>;auth_user={user};auth_pass=\"{password}\";{network}{seal}{ice};regint={registration};answermode={answer};\
         audio_codecs=PCMA/8000/1,PCMU/8000/1{video}\n"
    )
}

/// Version 4 in form, and always the same.
fn instance(plan: &Plan) -> String {
    let user: u32 = plan.user.parse().unwrap_or_default();
    format!("{user:08}-0000-4000-8000-{:012}", plan.device)
}
