-- What held of each subscription from when until when: the versions of a history; without one, the paid time that the
-- subscription itself tells of, and from the first snapshot on the versions that dbt saw.
{% set has_snapshot = var('sources').stripe.enabled and var('sources').stripe.loader in ('dlt', 'airbyte') %}
{% set snapshot = ref('snap_stripe__subscriptions') if has_snapshot %}
-- before the first `dbt build` there is none to read
{% set is_snapshotted = has_snapshot and execute and load_relation(snapshot) is not none %}
with

source as (

    select
        *,
        {{ load_rank(['id', '_fivetran_start'], '_landed_at', ties=['status', 'customer_id', 'quantity']) }} as load_rank
    from {{ stripe('subscription_history') }}
    where
        _fivetran_start is not null
        -- without times, the active version; else the only one
        or coalesce({{ true_or_false('_fivetran_active') }}, true)

),

typed as (

    select
        id as subscription_id,
        customer_id as stripe_customer_id,
        lower(status) as status,
        {{ quantity_sold('quantity') }} as seats,
        -- a row without a begin says nothing beside versions that have one
        max(case when _fivetran_start is not null then 1 else 0 end) over (partition by id) = 1 as is_version,
        {{ utc_timestamp('_fivetran_start') }} as version_from,
        {{ utc_timestamp('_fivetran_end') }} as version_to,
        coalesce({{ utc_timestamp('start_date') }}, {{ utc_timestamp('created') }}, {{ utc_timestamp('current_period_start') }})
            as started_at,
        {{ utc_timestamp('trial_end') }} as trial_ended_at,
        coalesce({{ utc_timestamp('ended_at') }}, case when lower(status) = 'canceled' then {{ utc_timestamp('canceled_at') }} end) as ended_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null
        and (_fivetran_start is not null or not _is_deleted)

),

-- a trial that is over comes before the paid time; one that the subscription did not outlive was all there was
dated as (

    select
        typed.*,
        case
            when status = 'canceled' or trial_ended_at is null or trial_ended_at <= {{ as_of_at() }} then status
            else 'trialing'
        end as status_at_clock,
        coalesce(
            case
                when status = 'trialing' or trial_ended_at > {{ as_of_at() }} or ended_at <= trial_ended_at then started_at
                else coalesce(trial_ended_at, started_at)
            end,
            -- live, and nobody can tell since when: since it was landed
            case
                when ended_at is not null then null
                when loaded_at < {{ as_of_at() }} then loaded_at
                else {{ as_of_at() }}
            end
        ) as paid_from,
        coalesce(ended_at <= trial_ended_at, false) as is_trial_only
    from typed

),
{% if is_snapshotted %}

snapshots as (

    select * from {{ snapshot }}

),

first_snapshots as (

    select
        subscription_id,
        min(dbt_valid_from) as first_seen_at
    from snapshots
    group by subscription_id

),
{% endif %}

versions as (

    select
        subscription_id,
        stripe_customer_id,
        status,
        seats,
        version_from as valid_from,
        version_to as valid_to,
        loaded_at
    from typed
    where is_version

    union all

    -- one version without a history; seats at that time stand on the invoice lines
    select
        dated.subscription_id,
        dated.stripe_customer_id,
        case
            when dated.status = 'canceled' and not dated.is_trial_only and dated.ended_at > dated.paid_from then 'active'
            else dated.status_at_clock
        end as status,
        cast(null as bigint) as seats,
        dated.paid_from as valid_from,
        {% if is_snapshotted %}
        case
            when dated.ended_at <= first_snapshots.first_seen_at then dated.ended_at
            else coalesce(first_snapshots.first_seen_at, dated.ended_at)
        end as valid_to,
        {% else %}
        dated.ended_at as valid_to,
        {% endif %}
        dated.loaded_at
    from dated
    {% if is_snapshotted %}
    left join first_snapshots
        on dated.subscription_id = first_snapshots.subscription_id
    {% endif %}
    where not dated.is_version
    {% if is_snapshotted %}

    union all

    -- a subscription ends when it says so, which the snapshot sees a build later
    select
        snapshots.subscription_id,
        snapshots.stripe_customer_id,
        snapshots.status,
        snapshots.seats,
        snapshots.dbt_valid_from as valid_from,
        case
            when
                snapshots.status <> 'canceled'
                and typed.ended_at < coalesce(snapshots.dbt_valid_to, {{ as_of_at() }})
                then typed.ended_at
            else snapshots.dbt_valid_to
        end as valid_to,
        snapshots.loaded_at
    from snapshots
    left join typed
        on snapshots.subscription_id = typed.subscription_id
    {% endif %}

),

known as (

    select
        subscription_id,
        stripe_customer_id,
        status,
        seats,
        valid_from,
        valid_to,
        loaded_at
    from versions
    where valid_from <= {{ as_of_at() }}

)

select * from known
