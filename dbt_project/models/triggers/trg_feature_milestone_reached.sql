-- Somebody has used a key feature another feature_milestone_uses times: congratulate, and show what experts do with it.
-- One episode per person and feature on the day of the milestone; the next one counts after the re-arm time.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "feature_milestone_reached",
}}) }}

with

features_used as (

    select * from {{ ref('int_contact_features__used') }}

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

features as (

    select distinct
        feature,
        feature_name_en,
        feature_name_ja
    from {{ ref('features') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

-- only the last days can hold a candidate: uses before them are the total less what came since
recent_days as (

    select
        customer_id,
        contact_id,
        feature,
        usage_date,
        sum(uses) as uses
    from usage_daily
    where
        contact_id is not null
        and customer_id is not null
        and is_key_feature
        and uses > 0
        and {{ is_candidate('usage_date') }}
    group by
        customer_id,
        contact_id,
        feature,
        usage_date

),

summed as (

    select
        recent_days.customer_id,
        recent_days.contact_id,
        recent_days.feature,
        recent_days.usage_date,
        recent_days.uses,
        features_used.uses - coalesce(sum(recent_days.uses) over (
            partition by recent_days.customer_id, recent_days.contact_id, recent_days.feature
            order by recent_days.usage_date desc
            rows between unbounded preceding and 1 preceding
        ), 0) as uses_so_far
    from recent_days
    inner join features_used
        on
            recent_days.customer_id = features_used.customer_id
            and recent_days.contact_id = features_used.contact_id
            and recent_days.feature = features_used.feature

),

counted as (

    select
        summed.*,
        cast(floor(uses_so_far / {{ threshold('feature_milestone_uses') }}) * {{ threshold('feature_milestone_uses') }} as integer) as milestone_uses
    from summed

),

-- of several milestones in one feature the latest
ranked as (

    select
        counted.*,
        row_number() over (
            partition by contact_id, feature
            order by usage_date desc
        ) as recency
    from counted
    where uses_so_far - uses < milestone_uses

),

opened as (

    select
        ranked.customer_id,
        ranked.contact_id,
        ranked.feature as subject,
        ranked.usage_date as opened_date,
        ranked.feature,
        ranked.milestone_uses
    from ranked
    inner join customers
        on ranked.customer_id = customers.customer_id
    where
        ranked.recency = 1
        and customers.journey_stage <> 'churned'

),

identified as (

    select * from {{ episodes('feature_milestone_reached', 'opened') }} as known_episodes

),

described as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.full_name as contact_name,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence(["'Has used '", 'features.feature_name_en', "' '", 'identified.milestone_uses', "' times'"]) }} as reason,
        customers.customer_name,
        identified.feature,
        case contacts.language when 'ja' then features.feature_name_ja else features.feature_name_en end as feature_name,
        identified.milestone_uses
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id
    inner join features
        on identified.feature = features.feature

),

final as (

    select * from {{ advised('described', 'advanced_use', ['feature']) }} as advised_rows

)

select * from final
