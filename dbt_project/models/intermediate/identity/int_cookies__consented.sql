-- Whether a cookie may be linked to a person: its last word about analytics. A refusal in the same second counts. Where
-- there was no word, cookies_without_word_are_linked says.
with

pages as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__pages', 'posthog': 'stg_posthog__page_views'},
        {'anonymous_id': dbt.type_string(), 'has_analytics_consent': 'boolean', 'occurred_at': dbt.type_timestamp()},
    ) }}

),

identifies as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__identifies', 'posthog': 'stg_posthog__identifies'},
        {'anonymous_id': dbt.type_string(), 'has_analytics_consent': 'boolean', 'occurred_at': dbt.type_timestamp()},
    ) }}

),

seen as (

    select
        anonymous_id,
        has_analytics_consent,
        occurred_at
    from pages
    where anonymous_id is not null

    union all

    select
        anonymous_id,
        has_analytics_consent,
        occurred_at
    from identifies
    where anonymous_id is not null

),

said as (

    select
        anonymous_id,
        max(case when has_analytics_consent then occurred_at end) as last_agreed_at,
        max(case when not has_analytics_consent then occurred_at end) as last_refused_at
    from seen
    group by anonymous_id

),

final as (

    select
        anonymous_id,
        case
            when last_agreed_at is null and last_refused_at is null
                then {{ threshold('cookies_without_word_are_linked') }} = 1
            when last_refused_at is null then true
            else coalesce(last_agreed_at > last_refused_at, false)
        end as has_analytics_consent
    from said

)

select * from final
