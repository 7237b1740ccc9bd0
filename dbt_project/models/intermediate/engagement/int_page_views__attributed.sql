-- Views of the website with the kind of page and, where the cookie or login tells, the contact.
with

pages as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__pages', 'posthog': 'stg_posthog__page_views'},
        {
            'page_view_id': dbt.type_string(),
            'anonymous_id': dbt.type_string(),
            'user_id': dbt.type_string(),
            'path': dbt.type_string(),
            'occurred_at': dbt.type_timestamp(),
        },
    ) }}

),

visitors as (

    select * from {{ ref('int_visitors__identified') }}

),

product_users as (

    select * from {{ ref('int_product_users__identified') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

web_pages as (

    select * from {{ ref('web_pages') }}

),

final as (

    select
        pages.page_view_id,
        contacts.contact_id,
        contacts.customer_id,
        pages.anonymous_id,
        pages.path,
        coalesce(web_pages.page_kind, 'other') as page_kind,
        pages.occurred_at
    from pages
    left join product_users
        on pages.user_id = product_users.user_id
    left join visitors
        on pages.anonymous_id = visitors.anonymous_id
    left join contacts
        on coalesce(product_users.contact_id, visitors.contact_id) = contacts.contact_id
    left join web_pages
        on pages.path like {{ dbt.concat(['web_pages.path_start', "'%'"]) }}

)

select * from final
