//! The directory of an allocation and the files that its tasks find there.
//!
//! ```text
//! <alloc_dir>/<allocation id>/
//!     alloc/{data,logs,tmp}                 shared by the tasks
//!     <task>/{local,secrets,private,tmp}
//! ```

use crate::client::AllocDirSpec;
use crate::client::driver::{self, Launch};
use crate::client::env::{self, TaskDirs};
use crate::client::exec_proto::{Artifact, FetchSpec, Mount};
use crate::client::task::{Ctx, Spec, alloc_root, sources};
use crate::stdx::BTreeMap;
use crate::stdx::json::Map;

/// What is to be made, and for each task whose files cannot be made the reason.
pub(crate) fn plan(
    specs: &[Spec<'_>],
    alloc: &str,
    ctx: &Ctx<'_>,
) -> (AllocDirSpec, BTreeMap<String, String>) {
    let root = alloc_root(ctx.config, alloc);
    let mut dirs = vec![
        ("alloc".to_owned(), SHARED),
        ("alloc/data".to_owned(), SHARED),
        ("alloc/logs".to_owned(), SHARED),
        ("alloc/tmp".to_owned(), SHARED | STICKY),
    ];
    let (mut files, mut links) = (Vec::new(), Vec::new());
    let mut errors = BTreeMap::new();
    for spec in specs {
        let name = &spec.task.name;
        // Only a task that runs as another user than the agent needs the rights of everyone.
        let secret = if spec.task.user.is_empty() { PRIVATE } else { SHARED };
        for (dir, mode) in [
            ("", SHARED),
            ("/local", SHARED),
            ("/secrets", secret),
            ("/private", secret),
            ("/tmp", SHARED | STICKY),
        ] {
            dirs.push((format!("{name}{dir}"), mode));
        }
        let made = volume_links(*spec, ctx).and_then(|more| {
            links.extend(more);
            task_files(*spec, &root, ctx)
        });
        match made {
            Ok(more) => files.extend(more),
            Err(text) => {
                errors.insert(name.clone(), text);
            }
        }
    }
    (AllocDirSpec { alloc: alloc.to_owned(), root, dirs, links, files }, errors)
}

type File = (String, u32, Vec<u8>);

/// The task's volumes where the agent has no right to mount: links in its directory, through which
/// it can write.
fn volume_links(spec: Spec<'_>, ctx: &Ctx<'_>) -> Result<Vec<(String, String)>, String> {
    let all = volumes(spec, ctx)?;
    let links = all.into_iter().filter(|_| !ctx.config.mounts);
    Ok(links.map(|m| (format!("{}/{}", spec.task.name, m.target), m.source)).collect())
}

/// The task's volumes, as they are to be in its directory.
///
/// # Errors
/// A sentence for the user: no such volume, no such place, or no way to keep it from writing.
pub(crate) fn volumes(spec: Spec<'_>, ctx: &Ctx<'_>) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for mount in spec.task.volume_mounts.iter() {
        let request = spec.group.volumes.get(&mount.volume).filter(|v| v.kind == "host");
        let Some(request) = request else { continue };
        let name = request.named(&spec.alloc.name);
        let volume = ctx.node.host_volumes.get(&name);
        let volume = volume.ok_or_else(|| format!("no host volume named: {name}"))?;
        let dest = &mount.destination;
        let path = inside(dest)
            .ok_or_else(|| format!("volume_mount destination escapes task dir: {dest:?}"))?;
        if mount.propagation_mode == "bidirectional" {
            return Err("propagation_mode \"bidirectional\" is not served".to_owned());
        }
        let read_only = mount.read_only || request.read_only || volume.read_only;
        if read_only && !ctx.config.mounts {
            return Err(format!(
                "volume_mount {dest:?} is read-only, which needs an agent with the right to mount \
                 (CAP_SYS_ADMIN)"
            ));
        }
        mounts.push(Mount {
            source: volume.path.clone(),
            target: path,
            read_only,
            devices: volume.id.is_empty(),
            follows: mount.propagation_mode == "host-to-task",
        });
    }
    Ok(mounts)
}

/// What is to be fetched before the task starts.
///
/// # Errors
/// A sentence for the user: a destination leads out of the task's directory.
pub(crate) fn artifacts(spec: Spec<'_>, ctx: &Ctx<'_>) -> Result<FetchSpec, String> {
    let dirs = TaskDirs::host(&alloc_root(ctx.config, &spec.alloc.id), &spec.task.name);
    let scope = env::build(&sources(spec, ctx, &dirs));
    let pairs = |map: &Map<String>| {
        let pairs = map.iter().map(|(key, value)| (scope.text(key), scope.text(value)));
        pairs.collect::<Vec<_>>()
    };
    let mut artifacts = Vec::new();
    for artifact in spec.task.artifacts.iter() {
        let dest = scope.text(&artifact.relative_dest);
        let path = dest.strip_prefix(&format!("{}/", dirs.task)).unwrap_or(&dest);
        artifacts.push(Artifact {
            source: scope.text(&artifact.getter_source),
            destination: inside(path)
                .ok_or_else(|| format!("artifact destination escapes task dir: {dest:?}"))?,
            mode: artifact.getter_mode.clone(),
            chown: artifact.chown,
            insecure: artifact.getter_insecure,
            headers: pairs(&artifact.getter_headers),
            options: pairs(&artifact.getter_options),
        });
    }
    let limits = ctx.config.fetch_limits.clone();
    Ok(FetchSpec { task_dir: dirs.task, user: spec.task.user.clone(), artifacts, limits })
}

fn task_files(spec: Spec<'_>, root: &str, ctx: &Ctx<'_>) -> Result<Vec<File>, String> {
    let task = spec.task;
    let dirs = TaskDirs::host(root, &task.name);
    let scope = env::build(&sources(spec, ctx, &dirs));
    let mut files = Vec::new();
    if let (Some(payload), Some(bytes)) = (&task.dispatch_payload, &spec.job.payload)
        && !payload.file.is_empty()
    {
        let path = inside(&format!("local/{}", payload.file))
            .ok_or("dispatch payload file escapes the task directory")?;
        files.push((format!("{}/{path}", task.name), FILE, bytes.0.clone()));
    }
    if let Ok(Launch::Mock(mock)) = driver::launch(&task.driver, &task.config, &scope)
        && !mock.stdout.is_empty()
    {
        files.push((format!("alloc/logs/{}.stdout.0", task.name), FILE, mock.output()));
    }
    Ok(files)
}

/// A relative path without steps outwards; `None` where it leaves its directory.
pub(crate) fn inside(path: &str) -> Option<String> {
    let path = path.trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let bad = parts.is_empty() || parts.iter().any(|p| *p == ".." || p.contains('\0'));
    if bad { None } else { Some(parts.join("/")) }
}

/// Modes of directories and files.
const SHARED: u32 = 0o777;
const PRIVATE: u32 = 0o700;
const STICKY: u32 = 0o1000;
const FILE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, want) in [
            ("local/x", Some("local/x")),
            ("/local//./x", Some("local/x")),
            ("local/../../x", None),
            ("..", None),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(inside(path).as_deref(), want);
        }
    }
}
