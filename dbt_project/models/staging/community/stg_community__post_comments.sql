with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('community', 'post_comments', ['id', 'post_id', 'author_id', 'is_accepted', 'created_at'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as post_comment_id,
        post_id,
        author_id,
        ---------- attributes
        {{ true_or_false('is_accepted') }} as is_accepted,
        ---------- timestamps
        {{ utc_timestamp('created_at') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
