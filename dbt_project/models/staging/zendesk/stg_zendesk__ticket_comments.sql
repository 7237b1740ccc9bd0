with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ zendesk('ticket_comment') }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as ticket_comment_id,
        cast(ticket_id as {{ dbt.type_string() }}) as ticket_id,
        cast(user_id as {{ dbt.type_string() }}) as author_id,
        ---------- attributes
        coalesce({{ true_or_false('public') }}, true) as is_public,
        ---------- timestamps
        {{ utc_timestamp('created') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
