-- A contact who had a key feature in use has left it alone while still working in the product: ask what got in the way.
-- One episode per last use: using the feature again closes it.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "feature_unused",
}}) }}

with

features_used as (

    select * from {{ ref('int_contact_features__used') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

features as (

    select distinct
        feature,
        feature_name_en,
        feature_name_ja
    from {{ ref('features') }}

),

abandoned as (

    select
        features_used.*,
        cast(last_used_at as date) as last_used_date,
        cast({{ dbt.dateadd('day', 'cast(' ~ threshold('feature_unused_days') ~ ' as integer)', 'last_used_at') }} as date)
            as opened_date
    from features_used
    where
        is_key_feature
        and uses >= {{ threshold('feature_in_use_times') }}

),

-- of several features left at once, the one used most is asked about
ranked as (

    select
        abandoned.*,
        row_number() over (
            partition by contact_id
            order by uses desc, feature
        ) as use_rank
    from abandoned
    where {{ is_candidate('opened_date') }}

),

opened as (

    select
        ranked.*,
        ranked.feature as subject
    from ranked
    inner join customers
        on ranked.customer_id = customers.customer_id
    inner join contacts
        on ranked.contact_id = contacts.contact_id
    where
        ranked.use_rank = 1
        and customers.journey_stage in ('onboarding', 'adoption', 'growth')
        -- still at work in the product since
        and contacts.last_active_at > {{ dbt.dateadd('day', '7', 'ranked.last_used_at') }}

),

identified as (

    select * from {{ episodes('feature_unused', 'opened') }} as known_episodes

),

final as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.full_name as contact_name,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence([
            "'Has not used '",
            'features.feature_name_en',
            "' since '",
            'cast(identified.last_used_at as date)',
        ]) }} as reason,
        customers.customer_name,
        identified.feature,
        case contacts.language when 'ja' then features.feature_name_ja else features.feature_name_en end as feature_name,
        {{ days_between('identified.last_used_at', as_of_date()) }} as days_unused
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id
    inner join features
        on identified.feature = features.feature

)

select * from final
