-- The contact behind a cookie: whoever logged in with it and agreed to be analysed. A cookie that two people used is
-- linked to neither.
with

pages as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__pages', 'posthog': 'stg_posthog__page_views'},
        {'anonymous_id': dbt.type_string(), 'user_id': dbt.type_string(), 'occurred_at': dbt.type_timestamp()},
    ) }}

),

identifies as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__identifies', 'posthog': 'stg_posthog__identifies'},
        {'anonymous_id': dbt.type_string(), 'user_id': dbt.type_string(), 'occurred_at': dbt.type_timestamp()},
    ) }}

),

product_users as (

    select * from {{ ref('int_product_users__identified') }}

),

cookies as (

    select * from {{ ref('int_cookies__consented') }}

),

seen as (

    select
        anonymous_id,
        user_id,
        occurred_at
    from pages
    where anonymous_id is not null

    union all

    select
        anonymous_id,
        user_id,
        occurred_at
    from identifies
    where anonymous_id is not null

),

final as (

    select
        seen.anonymous_id,
        case
            when cookies.has_analytics_consent and count(distinct product_users.contact_id) = 1
                then min(product_users.contact_id)
        end as contact_id,
        count(distinct product_users.contact_id) > 1 as is_shared,
        cookies.has_analytics_consent,
        min(seen.occurred_at) as first_seen_at,
        max(seen.occurred_at) as last_seen_at
    from seen
    inner join cookies
        on seen.anonymous_id = cookies.anonymous_id
    left join product_users
        on seen.user_id = product_users.user_id
    group by
        seen.anonymous_id,
        cookies.has_analytics_consent

)

select * from final
